//! Where a cluster is and who we are there: address and kubeconfig as people give them, checked once.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chainpool_agent::{Connection, Error, Result, Secret};
use http::{HeaderValue, Uri};
use kube::{
    Config,
    config::{AuthInfo, Cluster, Kubeconfig},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::time::Duration;

/// The address that stands for "the cluster that this program runs in".
const IN_CLUSTER: &str = "in-cluster";
/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);

/// Checks a connection and renders the client's configuration. Sends nothing.
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
            "certificates are for engines: a Kubernetes cluster takes them in the kubeconfig",
        );
    }
    let mut config = if address == IN_CLUSTER {
        if kubeconfig.is_some() {
            return wrong(
                "kubeconfig",
                "in-cluster uses the service account of this pod: leave the kubeconfig away, or give the address as https://host:6443",
            );
        }
        Config::incluster().map_err(|e| {
            Error::Refused(format!(
                "{IN_CLUSTER}: this program runs in no pod with a service account ({e})"
            ))
        })?
    } else {
        let url = url(address)?;
        let Some(text) = kubeconfig else {
            return wrong(
                "kubeconfig",
                format!("{address} needs a kubeconfig that says who we are: give its text"),
            );
        };
        from_kubeconfig(url, text.expose(), *insecure)?
    };
    config.connect_timeout = Some(CONNECT);
    // Another try is the executor's to decide.
    config.default_retry = false;
    Ok(config)
}

fn url(address: &str) -> Result<Uri> {
    let wrong = || {
        Error::Refused(format!(
            "{address:?} is no address of a Kubernetes API server: write https://host:6443, or {IN_CLUSTER}"
        ))
    };
    let url: Uri = address.trim_end_matches('/').parse().map_err(|_| wrong())?;
    // A server that serves several clusters has each below a path. `Uri` gives a fragment away without a word.
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

/// Takes who we are and whom we trust from the current context. What would run a program or read a file of this
/// machine is refused: the text may stem from somebody who may add a host but not command this machine.
fn from_kubeconfig(url: Uri, text: &str, insecure: bool) -> Result<Config> {
    let file = Kubeconfig::from_yaml(text)
        .map_err(|_| setting("the kubeconfig cannot be read: give its text as YAML or JSON"))?;
    let (cluster, user) = current(file)?;
    let mut config = Config::new(url);
    if cluster.certificate_authority.is_some() {
        return refused(embed("certificate-authority"));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        if !insecure {
            return refused(
                "the kubeconfig skips the check of the server's certificate (insecure-skip-tls-verify): give its authority, or say insecure",
            );
        }
        config.accept_invalid_certs = true;
    }
    if cluster.proxy_url.is_some() {
        return refused(
            "the kubeconfig names a proxy, which is not supported: give an address that is reached without",
        );
    }
    config.root_cert = cluster
        .certificate_authority_data
        .as_deref()
        .map(authority)
        .transpose()?;
    config.tls_server_name = cluster.tls_server_name;
    for (there, field) in [
        (user.exec.is_some(), "exec"),
        (user.auth_provider.is_some(), "auth-provider"),
        (user.token_file.is_some(), "tokenFile"),
        (user.client_certificate.is_some(), "client-certificate"),
        (user.client_key.is_some(), "client-key"),
    ] {
        if there {
            return refused(embed(field));
        }
    }
    if user.client_certificate_data.is_some() != user.client_key_data.is_some() {
        return refused(
            "the kubeconfig has a client certificate without its key, or a key without its certificate",
        );
    }
    if user.client_certificate_data.is_none() && user.token.is_none() && user.username.is_none() {
        return refused(
            "the kubeconfig's current user has neither a client certificate nor a token: nobody could tell who we are",
        );
    }
    check_headers(&user)?;
    config.auth_info = user;
    Ok(config)
}

/// What goes into a header is text of one line; the client takes it for granted.
fn check_headers(user: &AuthInfo) -> Result<()> {
    let fits = |text: &str| HeaderValue::from_str(text).is_ok();
    let AuthInfo {
        impersonate,
        impersonate_uid,
        impersonate_groups,
        ..
    } = user;
    // The client's own type shows the token to a serialiser alone.
    let shown = serde_json::to_value(user)
        .map_err(|e| setting(format!("the kubeconfig's user cannot be read: {e}")))?;
    let bearer = shown["token"]
        .as_str()
        .map(|token| Secret::new(format!("Bearer {token}")));
    if bearer.is_some_and(|bearer| !fits(bearer.expose())) {
        return refused(
            "the kubeconfig's token holds characters that no HTTP header may hold: give the token alone, on one line",
        );
    }
    let who = impersonate
        .iter()
        .chain(impersonate_uid)
        .chain(impersonate_groups.iter().flatten());
    if !who.into_iter().all(|text| fits(text)) {
        return refused("the kubeconfig's impersonation holds characters that no HTTP header may hold");
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
        return refused("the kubeconfig has no current-context: name one");
    };
    let context = contexts
        .into_iter()
        .find(|c| c.name == name)
        .and_then(|c| c.context);
    let Some(context) = context else {
        return refused(format!(
            "the kubeconfig has no context {name:?}, which is its current one"
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
            "the kubeconfig has no cluster {:?}, which its current context names",
            context.cluster
        )),
        (_, None) => refused(format!(
            "the kubeconfig has no user for its current context {name:?}"
        )),
    }
}

fn embed(field: &str) -> String {
    format!(
        "the kubeconfig's {field} would run a program or read a file of the machine that Chainpool runs on: embed certificates and token \
         (`kubectl config view --minify --flatten --raw`), or use a service account's token"
    )
}

fn authority(base64: &str) -> Result<Vec<Vec<u8>>> {
    let unreadable =
        || setting("the kubeconfig's certificate-authority-data cannot be read: it is base64 of PEM text");
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

/// The kubeconfig cannot be used.
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
    fn the_address_says_where_and_the_kubeconfig_says_who() {
        let config = config(&connection("https://10.0.0.7:6443", Some(GOOD))).expect("a configuration");
        assert_eq!(config.cluster_url.to_string(), "https://10.0.0.7:6443/");
        assert!(config.auth_info.token.is_some());
    }

    #[test]
    fn a_server_of_several_clusters_has_each_below_a_path() {
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
    fn bad_addresses_are_refused_with_what_to_write() {
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
    fn a_kubeconfig_that_runs_programs_or_reads_files_is_refused() {
        for (from, to, says) in [
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
                "token holds characters",
            ),
            (
                "{token: t0ps3cret}",
                "{token: \"t0ps3cret\\u0000\"}",
                "token holds characters",
            ),
            (
                "{token: t0ps3cret}",
                "{token: t0ps3cret, as: \"a\\nb\"}",
                "impersonation",
            ),
            ("current-context: x", "current-context: y", "no context \"y\""),
            ("current-context: x", "", "no current-context"),
            ("kind: Config", "kind: [", "cannot be read"),
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
                error.contains(says) && !error.contains("t0ps3cret"),
                "{to}: {error}"
            );
        }
    }
}
