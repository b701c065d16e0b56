//! Client configuration from the address and kubeconfig of a connection, validated once.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chainpool_agent::{Connection, Error, Result, Secret};
use http::{HeaderValue, Uri};
use kube::{
    Config,
    config::{AuthInfo, Cluster, Kubeconfig},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::time::Duration;

/// The address of the cluster that runs this process.
const IN_CLUSTER: &str = "in-cluster";
/// Time limit for opening a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Validates a connection and returns the client configuration. Sends no request.
pub(crate) fn config(connection: &Connection) -> Result<Config> {
    let Connection {
        address,
        kubeconfig,
        insecure,
        tls,
        ..
    } = connection;
    if tls.is_some() {
        return wrong(
            "tls",
            "not used for Kubernetes: put certificates into the kubeconfig",
        );
    }
    let mut config = if address == IN_CLUSTER {
        if kubeconfig.is_some() {
            return wrong(
                "kubeconfig",
                "in-cluster uses the service account of this pod: omit the kubeconfig, or set the address to https://host:6443",
            );
        }
        Config::incluster().map_err(|e| {
            Error::Refused(format!(
                "{IN_CLUSTER}: not running in a pod with a service account ({e}): set the address to https://host:6443"
            ))
        })?
    } else {
        let url = url(address)?;
        let Some(text) = kubeconfig else {
            return wrong(
                "kubeconfig",
                format!("required for {address}: provide the kubeconfig text"),
            );
        };
        from_kubeconfig(url, text.expose(), *insecure)?
    };
    config.connect_timeout = Some(CONNECT);
    // The executor decides on retries.
    config.default_retry = false;
    Ok(config)
}

fn url(address: &str) -> Result<Uri> {
    let wrong = || {
        Error::Refused(format!(
            "{address:?} is not the address of a Kubernetes API server: use https://host:6443 or {IN_CLUSTER}"
        ))
    };
    let url: Uri = address.trim_end_matches('/').parse().map_err(|_| wrong())?;
    // A server of several clusters has each one under a path. `Uri` drops a fragment silently.
    let is_path = |path: &str| {
        path.split('/')
            .skip(1)
            .all(|part| !matches!(part, "" | "." | ".."))
    };
    let plain = (url.path() == "/" || is_path(url.path())) && url.query().is_none() && !address.contains('#');
    let named = url
        .authority()
        .is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
    if url.scheme_str() == Some("https") && plain && named {
        Ok(url)
    } else {
        Err(wrong())
    }
}

/// Takes credentials and trusted authority from the current context. Refuses settings that run a program or
/// read a file of this machine: a user who may add a host may not control this machine.
fn from_kubeconfig(url: Uri, text: &str, insecure: bool) -> Result<Config> {
    let file = Kubeconfig::from_yaml(text)
        .map_err(|_| setting("the kubeconfig is invalid: provide its text as YAML or JSON"))?;
    let (cluster, user) = current(file)?;
    let mut config = Config::new(url);
    if cluster.certificate_authority.is_some() {
        return refused(embed("certificate-authority"));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        if !insecure {
            return refused(
                "the kubeconfig disables certificate verification (insecure-skip-tls-verify): set certificate-authority-data, or add the host as insecure",
            );
        }
        config.accept_invalid_certs = true;
    }
    if cluster.proxy_url.is_some() {
        return refused(
            "the kubeconfig sets proxy-url, which is not supported: use an address that is reachable without a proxy",
        );
    }
    config.root_cert = cluster
        .certificate_authority_data
        .as_deref()
        .map(authority)
        .transpose()?;
    config.tls_server_name = cluster.tls_server_name;
    for (is_set, field) in [
        (user.exec.is_some(), "exec"),
        (user.auth_provider.is_some(), "auth-provider"),
        (user.token_file.is_some(), "tokenFile"),
        (user.client_certificate.is_some(), "client-certificate"),
        (user.client_key.is_some(), "client-key"),
    ] {
        if is_set {
            return refused(embed(field));
        }
    }
    if user.client_certificate_data.is_some() != user.client_key_data.is_some() {
        return refused(
            "the kubeconfig has only one of client-certificate-data and client-key-data: set both",
        );
    }
    if user.client_certificate_data.is_none() && user.token.is_none() && user.username.is_none() {
        return refused(
            "the kubeconfig's current user has neither a client certificate nor a token: add one of them",
        );
    }
    check_headers(&user)?;
    config.auth_info = user;
    Ok(config)
}

/// Checks that values for HTTP headers are valid there. The client does not check them.
fn check_headers(user: &AuthInfo) -> Result<()> {
    let fits = |text: &str| HeaderValue::from_str(text).is_ok();
    let AuthInfo {
        impersonate,
        impersonate_uid,
        impersonate_groups,
        ..
    } = user;
    // The client's type exposes the token only to a serializer.
    let serialized =
        serde_json::to_value(user).map_err(|e| setting(format!("the kubeconfig's user is invalid: {e}")))?;
    let bearer = serialized["token"]
        .as_str()
        .map(|token| Secret::new(format!("Bearer {token}")));
    if bearer.is_some_and(|bearer| !fits(bearer.expose())) {
        return refused(
            "the kubeconfig's token contains characters that are invalid in an HTTP header: provide the token alone, on one line",
        );
    }
    let mut identities = impersonate
        .iter()
        .chain(impersonate_uid)
        .chain(impersonate_groups.iter().flatten());
    if !identities.all(|text| fits(text)) {
        return refused(
            "the kubeconfig's impersonation contains characters that are invalid in an HTTP header: remove them",
        );
    }
    Ok(())
}

fn current(file: Kubeconfig) -> Result<(Cluster, AuthInfo)> {
    let Kubeconfig {
        clusters,
        auth_infos,
        contexts,
        current_context,
        ..
    } = file;
    let Some(name) = current_context else {
        return refused("the kubeconfig has no current-context: set one");
    };
    let context = contexts
        .into_iter()
        .find(|c| c.name == name)
        .and_then(|c| c.context);
    let Some(context) = context else {
        return refused(format!(
            "the kubeconfig's current-context {name:?} does not exist: add it or choose another"
        ));
    };
    let cluster = clusters
        .into_iter()
        .find(|c| c.name == context.cluster)
        .and_then(|c| c.cluster);
    let user = auth_infos
        .into_iter()
        .find(|u| Some(&u.name) == context.user.as_ref())
        .and_then(|u| u.auth_info);
    match (cluster, user) {
        (Some(cluster), Some(user)) => Ok((cluster, user)),
        (None, _) => refused(format!(
            "the kubeconfig has no cluster {:?} of its current context: add it",
            context.cluster
        )),
        (_, None) => refused(format!(
            "the kubeconfig has no user for its current context {name:?}: add it"
        )),
    }
}

fn embed(field: &str) -> String {
    format!(
        "the kubeconfig's {field} runs a program or reads a file on Chainpool's machine: embed certificates and token \
         (`kubectl config view --minify --flatten --raw`), or use a service account token"
    )
}

fn authority(base64: &str) -> Result<Vec<Vec<u8>>> {
    let unreadable =
        || setting("the kubeconfig's certificate-authority-data is invalid: provide base64 of PEM text");
    let pem = STANDARD.decode(base64.trim()).map_err(|_| unreadable())?;
    let found = CertificateDer::pem_slice_iter(&pem)
        .map(|c| c.map(|c| c.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| unreadable())?;
    if found.is_empty() {
        Err(unreadable())
    } else {
        Ok(found)
    }
}

/// The error for an unusable kubeconfig.
fn setting(why: impl Into<String>) -> Error {
    Error::Setting {
        field: "kubeconfig",
        why: why.into(),
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T> {
    Err(setting(why))
}

fn wrong<T>(field: &'static str, why: impl Into<String>) -> Result<T> {
    Err(Error::Setting {
        field,
        why: why.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_agent::InstanceId;

    const GOOD: &str = "
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://elsewhere:1'}}]
users: [{name: u, user: {token: t0ps3cret}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
";

    fn connection(address: &str, kubeconfig: Option<&str>) -> Connection {
        Connection {
            instance: InstanceId::new(),
            address: address.to_owned(),
            kubeconfig: kubeconfig.map(|text| Secret::new(text.to_owned())),
            storage_class: None,
            tls: None,
            insecure: false,
            bind: "0.0.0.0".parse().expect("an address"),
            mirror: None,
            registry: None,
        }
    }

    #[test]
    fn the_address_gives_the_server_and_the_kubeconfig_the_credentials() {
        let config = config(&connection("https://10.0.0.7:6443", Some(GOOD))).expect("a configuration");
        assert_eq!(config.cluster_url.to_string(), "https://10.0.0.7:6443/");
        assert!(config.auth_info.token.is_some());
    }

    #[test]
    fn addresses_with_a_path_are_accepted() {
        let config = config(&connection(
            "https://rancher.example/k8s/clusters/c-m-7xk2/",
            Some(GOOD),
        ))
        .expect("a configuration");
        assert_eq!(
            config.cluster_url.to_string(),
            "https://rancher.example/k8s/clusters/c-m-7xk2"
        );
    }

    #[test]
    fn invalid_addresses_are_refused_with_an_example() {
        for address in [
            "10.0.0.7",
            "http://h:6443",
            "https://",
            "https://h/x?y=1",
            "https://h/x#y",
            "https://h/../x",
            "https://h//x",
            "https://me@h:1",
            "unix:///s",
            "tcp://h:1",
        ] {
            let error = config(&connection(address, Some(GOOD)))
                .expect_err(address)
                .to_string();
            assert!(error.contains("https://host:6443"), "{address}: {error}");
        }
        let error = config(&connection("https://h:6443", None))
            .expect_err("refused")
            .to_string();
        assert!(error.contains("kubeconfig"), "{error}");
    }

    #[test]
    fn unsafe_or_incomplete_kubeconfigs_are_refused() {
        for (from, to, message) in [
            (
                "{token: t0ps3cret}",
                "{exec: {command: /bin/true, apiVersion: client.authentication.k8s.io/v1}}",
                "exec",
            ),
            ("{token: t0ps3cret}", "{tokenFile: /etc/shadow}", "tokenFile"),
            (
                "{token: t0ps3cret}",
                "{client-certificate: /a, client-key: /b}",
                "client-certificate",
            ),
            ("{token: t0ps3cret}", "{}", "neither"),
            (
                "{server: 'https://elsewhere:1'}",
                "{server: 'https://e:1', certificate-authority: /a}",
                "certificate-authority",
            ),
            (
                "{server: 'https://elsewhere:1'}",
                "{server: 'https://e:1', insecure-skip-tls-verify: true}",
                "insecure",
            ),
            (
                "{server: 'https://elsewhere:1'}",
                "{server: 'https://e:1', certificate-authority-data: bm9uZQ==}",
                "certificate-authority-data",
            ),
            (
                "{token: t0ps3cret}",
                "{token: \"t0ps3cret\\nb\"}",
                "token contains characters",
            ),
            (
                "{token: t0ps3cret}",
                "{token: \"t0ps3cret\\u0000\"}",
                "token contains characters",
            ),
            (
                "{token: t0ps3cret}",
                "{token: t0ps3cret, as: \"a\\nb\"}",
                "impersonation",
            ),
            (
                "current-context: x",
                "current-context: y",
                "current-context \"y\"",
            ),
            ("current-context: x", "", "no current-context"),
            ("kind: Config", "kind: [", "the kubeconfig is invalid"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD);
            let error = config(&connection("https://h:6443", Some(&text))).expect_err(to);
            assert!(
                matches!(
                    error,
                    Error::Setting {
                        field: "kubeconfig",
                        ..
                    }
                ),
                "{to}: {error:?}"
            );
            let error = error.to_string();
            assert!(
                error.contains(message) && !error.contains("t0ps3cret"),
                "{to}: {error}"
            );
        }
    }
}
