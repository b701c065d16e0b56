//! The form that adds or updates a host.

use crate::{
    error::PageResult,
    form::{Form, Reader},
    format,
    page::{self, Frame},
    redirect::see_other,
    request::AuthedRequest,
    state::App,
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::IntoResponse,
};
use chainpool_api as api;
use chainpool_orchestrator::Error;
use http::StatusCode;
use std::collections::BTreeMap;

/// Maximum number of fill policy entries in the form. It shows one empty line after the last entry.
const LINES: usize = 64;

#[derive(Template)]
#[template(path = "hosts/form.html")]
struct HostForm {
    frame: Frame,
    form: Form,
    /// The host to update; `None` for a new host.
    host: Option<api::Host>,
    types: Vec<api::NetworkType>,
    platforms: Vec<api::Platform>,
    fill_lines: Vec<usize>,
}

impl HostForm {
    /// True if the section with the certificates is in use.
    fn tls_open(&self) -> bool {
        ["tls.ca", "tls.cert", "tls.key", "insecure"]
            .iter()
            .any(|name| self.form.ticked(name))
            || !self.form.error("tls").is_empty()
    }
}

/// An empty form.
pub(crate) async fn new(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let mut form = Form::filled([
        ("address", "unix:///var/run/docker.sock".to_owned()),
        ("schedulable", "yes".to_owned()),
        ("capacity", "3".to_owned()),
        ("log.type", "local".to_owned()),
        ("log.level", "info".to_owned()),
    ]);
    if let Some(first) = app.orchestrator.network_types(&request.caller).first() {
        form.fill("fill.0.type", &first.name);
    }
    render(&app, &request, form, None).await
}

/// Adds a host.
pub(crate) async fn create(State(app): State<App>, request: AuthedRequest, form: Form) -> PageResult {
    let created = match read_create(&form) {
        Ok(new) => app.orchestrator.host_create(&form.caller(&request), new).await,
        Err(error) => Err(error),
    };
    match created {
        Ok(host) => Ok(see_other(&format!("/hosts/{}?done=host_created", host.name))),
        Err(error) => render(&app, &request, form.rejected(error, &request.info)?, None).await,
    }
}

/// The form with the host's settings.
pub(crate) async fn edit(
    State(app): State<App>,
    request: AuthedRequest,
    Path(host): Path<String>,
) -> PageResult {
    let host = app.orchestrator.host_show(&request.caller, &host).await?;
    render(&app, &request, filled(&host), Some(host)).await
}

/// Updates the host.
pub(crate) async fn update(
    State(app): State<App>,
    request: AuthedRequest,
    Path(host): Path<String>,
    form: Form,
) -> PageResult {
    let host = app.orchestrator.host_show(&request.caller, &host).await?;
    let changed = match read_update(&form, &host) {
        Ok(change) => {
            app.orchestrator
                .host_update(&form.caller(&request), &host.id.to_string(), change)
                .await
        }
        Err(error) => Err(error),
    };
    match changed {
        Ok(host) => Ok(see_other(&format!("/hosts/{}?done=host_updated", host.name))),
        Err(error) => render(&app, &request, form.rejected(error, &request.info)?, Some(host)).await,
    }
}

/// Starts or ends maintenance.
pub(crate) async fn maintenance(
    State(app): State<App>,
    request: AuthedRequest,
    Path(host): Path<String>,
    form: Form,
) -> PageResult {
    let mut reader = form.reader();
    let minutes = reader.number::<u32>("minutes").unwrap_or_default();
    let minutes = reader.finish(minutes)?;
    let change = api::HostUpdate {
        maintenance_seconds: Some(minutes.saturating_mul(60)),
        ..api::HostUpdate::default()
    };
    let host = app
        .orchestrator
        .host_update(&form.caller(&request), &host, change)
        .await?;
    Ok(see_other(&format!("/hosts/{}?done=maintenance", host.name)))
}

/// Resumes a paused host.
pub(crate) async fn resume(
    State(app): State<App>,
    request: AuthedRequest,
    Path(host): Path<String>,
    form: Form,
) -> PageResult {
    let change = api::HostUpdate {
        paused: Some(false),
        ..api::HostUpdate::default()
    };
    let host = app
        .orchestrator
        .host_update(&form.caller(&request), &host, change)
        .await?;
    Ok(see_other(&format!("/hosts/{}?done=resumed", host.name)))
}

async fn render(app: &App, request: &AuthedRequest, form: Form, host: Option<api::Host>) -> PageResult {
    let title = host.as_ref().map_or_else(
        || "Add a host".to_owned(),
        |host| format!("Settings of {}", host.name),
    );
    let mut frame = Frame::new(app, request, "hosts", title)
        .await
        .crumb("Hosts", "/hosts");
    frame = match &host {
        Some(host) => frame
            .crumb(&host.name, format!("/hosts/{}", host.name))
            .crumb("Settings", ""),
        None => frame.crumb("Add", ""),
    };
    let status = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |rejection| rejection.status);
    let lines = (0..LINES)
        .take_while(|line| !form.get(&format!("fill.{line}.type")).is_empty())
        .count();
    let page = HostForm {
        frame,
        form,
        host,
        types: app.orchestrator.network_types(&request.caller),
        platforms: app.orchestrator.platforms(&request.caller)?,
        fill_lines: (0..=lines).collect(),
    };
    Ok((status, page::html(&page)?).into_response())
}

/// The form filled with a host's settings.
fn filled(host: &api::Host) -> Form {
    let api::HostSettings {
        schedulable,
        autofill,
        capacity,
        memory_factor,
        disk_floor,
        fill,
        public_address,
        bind,
        ports,
        subnets,
        log,
        mirror,
        images,
        insecure,
        storage_class,
    } = &host.settings;
    let yes = |flag: bool| if flag { "yes".to_owned() } else { String::new() };
    let images = images
        .iter()
        .map(|(role, images)| format!("{role} = {}", images.join(", ")))
        .collect::<Vec<_>>()
        .join("\n");
    let mut form = Form::filled([
        ("name", host.name.clone()),
        ("address", host.address.clone()),
        ("insecure", yes(*insecure)),
        ("schedulable", yes(*schedulable)),
        ("autofill", yes(*autofill)),
        ("capacity", capacity.to_string()),
        ("memory_factor", memory_factor.to_string()),
        ("disk_floor", disk_floor.to_string()),
        ("public_address", public_address.clone()),
        ("bind", bind.to_string()),
        ("ports.first", ports.0.to_string()),
        ("ports.last", ports.1.to_string()),
        ("subnets", subnets.to_string()),
        ("log.type", log.kind.to_string()),
        ("log.level", log.level.to_string()),
        ("log.server", log.server.clone().unwrap_or_default()),
        ("mirror", mirror.clone().unwrap_or_default()),
        ("images", images),
        ("storage_class", storage_class.clone().unwrap_or_default()),
    ]);
    for (line, fill) in fill.iter().enumerate() {
        form.fill(format!("fill.{line}.type"), &fill.network_type);
        form.fill(format!("fill.{line}.preset"), &fill.preset);
        form.fill(format!("fill.{line}.share"), fill.share.to_string());
        form.fill(format!("fill.{line}.parameters"), format::pairs(&fill.parameters));
    }
    form
}

/// The settings in the form. An empty text keeps the current value or default, except where it removes a setting.
fn read_settings(reader: &mut Reader<'_>) -> api::HostSettingsPatch {
    let form = reader.form;
    let fill = read_fill(reader);
    api::HostSettingsPatch {
        tls: read_tls(reader),
        insecure: Some(form.ticked("insecure")),
        schedulable: Some(form.ticked("schedulable")),
        autofill: Some(form.ticked("autofill")),
        capacity: reader.number("capacity"),
        memory_factor: reader.number("memory_factor"),
        disk_floor: reader.number("disk_floor"),
        fill: (!fill.is_empty()).then_some(fill),
        public_address: form.text("public_address"),
        bind: form.text("bind"),
        ports: read_ports(reader),
        subnets: form.text("subnets"),
        log: read_log(reader),
        mirror: Some(form.text("mirror").unwrap_or_default()),
        images: Some(read_images(reader)),
        registry: read_registry(reader),
        kubeconfig: form.text("kubeconfig"),
        storage_class: Some(form.text("storage_class").unwrap_or_default()),
    }
}

fn read_ports(reader: &mut Reader<'_>) -> Option<(u16, u16)> {
    let ports = (reader.number("ports.first"), reader.number("ports.last"));
    both(reader, "ports", ports, "specify both the first and the last port")
}

fn read_log(reader: &mut Reader<'_>) -> Option<api::HostLog> {
    let (kind, level) = (reader.choice("log.type"), reader.choice("log.level"));
    kind.zip(level).map(|(kind, level)| api::HostLog {
        kind,
        level,
        server: reader.form.text("log.server"),
    })
}

fn read_registry(reader: &mut Reader<'_>) -> Option<api::HostRegistry> {
    let form = reader.form;
    let login = (form.text("registry.user"), form.text("registry_password"));
    let login = both(
        reader,
        "registry",
        login,
        "specify both the user and the password",
    );
    login.map(|(user, password)| api::HostRegistry {
        address: form.text("registry.address"),
        user,
        password,
    })
}

/// Two values that are only valid together.
fn both<A, B>(
    reader: &mut Reader<'_>,
    name: &str,
    pair: (Option<A>, Option<B>),
    why: &str,
) -> Option<(A, B)> {
    match pair {
        (Some(one), Some(other)) => Some((one, other)),
        (None, None) => None,
        _ => {
            reader.wrong(name, why);
            None
        }
    }
}

fn read_tls(reader: &mut Reader<'_>) -> Option<api::HostTls> {
    let form = reader.form;
    let [ca, cert, key] = ["tls.ca", "tls.cert", "tls.key"].map(|name| form.text(name));
    let given = ca.is_some() || cert.is_some() || key.is_some();
    let tls = ca
        .zip(cert)
        .zip(key)
        .map(|((ca, cert), key)| api::HostTls { ca, cert, key });
    if given && tls.is_none() {
        reader.wrong(
            "tls",
            "specify all three: CA certificate, client certificate and client key",
        );
    }
    tls
}

fn read_fill(reader: &mut Reader<'_>) -> Vec<api::Fill> {
    let form = reader.form;
    let mut fill = Vec::new();
    for line in 0..LINES {
        let name = |part: &str| format!("fill.{line}.{part}");
        let Some(network_type) = form.text(&name("type")) else {
            continue;
        };
        let preset = form.text(&name("preset")).unwrap_or_else(|| "default".to_owned());
        let share = reader.number(&name("share")).unwrap_or(1);
        let parameters = reader.parameters(&name("parameters"), form.get(&name("parameters")));
        fill.push(api::Fill {
            network_type,
            preset,
            share,
            parameters,
        });
    }
    fill
}

fn read_images(reader: &mut Reader<'_>) -> BTreeMap<String, Vec<String>> {
    let mut images = BTreeMap::new();
    for line in reader
        .form
        .get("images")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        match line.split_once('=') {
            Some((role, list)) => {
                let list = list
                    .split(',')
                    .map(|image| image.trim().to_owned())
                    .filter(|image| !image.is_empty())
                    .collect();
                images.insert(role.trim().to_owned(), list);
            }
            None => reader.wrong(
                "images",
                format!("{line:?} is not a valid entry; write role = image, image"),
            ),
        }
    }
    images
}

fn read_create(form: &Form) -> Result<api::HostCreate, Error> {
    let mut reader = form.reader();
    let settings = read_settings(&mut reader);
    let new = api::HostCreate {
        name: form.text("name").unwrap_or_default(),
        platform: reader.choice("type"),
        address: form.text("address").unwrap_or_default(),
        ..api::HostCreate::default()
    };
    reader.finish(new.with_settings(settings))
}

/// Only the changed settings: some settings must be absent while the host has clusters, and a fill policy in
/// the request resumes all paused entries.
fn read_update(form: &Form, host: &api::Host) -> Result<api::HostUpdate, Error> {
    let mut reader = form.reader();
    let given = read_settings(&mut reader);
    let resumed = given.fill.clone().filter(|_| !host.fill_paused.is_empty());
    let mut settings = given.without_unchanged(&host.settings);
    settings.fill = settings.fill.or(resumed);
    let other = |name: &str, now: &str| form.text(name).filter(|text| text != now);
    let change = api::HostUpdate {
        name: other("name", &host.name),
        address: other("address", &host.address),
        ..api::HostUpdate::default()
    };
    reader.finish(change.with_settings(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_form_changes_nothing() {
        let host = crate::samples::host("host-a");
        let change = read_update(&filled(&host), &host).unwrap();
        assert_eq!(
            serde_json::to_value(&change).unwrap(),
            serde_json::to_value(api::HostUpdate::default()).unwrap()
        );
    }

    /// A host whose settings are all given.
    fn complete() -> api::Host {
        let mut host = crate::samples::host("host-a");
        host.settings.mirror = Some("m.example".to_owned());
        host.settings.storage_class = Some("fast".to_owned());
        host
    }

    /// The inputs of secrets, which are never filled in.
    const SECRETS: [&str; 7] = [
        "tls.ca",
        "tls.cert",
        "tls.key",
        "kubeconfig",
        "registry.address",
        "registry.user",
        "registry_password",
    ];

    #[test]
    fn every_setting_is_read_from_the_form() {
        let mut form = filled(&complete());
        for name in SECRETS {
            form.fill(name, "x");
        }
        let given = read_settings(&mut form.reader());
        let given = serde_json::to_value(given).unwrap();
        for (name, value) in given.as_object().unwrap() {
            assert!(!value.is_null(), "{name} is not in the form");
        }
        let shown = serde_json::to_value(complete().settings).unwrap();
        for (name, value) in shown.as_object().unwrap() {
            assert_eq!(&given[name], value, "{name}");
        }
    }

    #[test]
    fn every_setting_has_an_input() {
        let host = complete();
        let form = filled(&host);
        let names: Vec<_> = form.names().chain(SECRETS).map(str::to_owned).collect();
        let html = HostForm {
            frame: crate::template_tests::frame(api::Role::Operator),
            form,
            host: Some(host),
            types: vec![crate::samples::network_type()],
            platforms: Vec::new(),
            fill_lines: vec![0],
        }
        .render()
        .unwrap();
        for name in names {
            assert!(html.contains(&format!(" name=\"{name}\"")), "{name}");
        }
    }

    #[test]
    fn an_unchanged_fill_policy_resumes_paused_entries() {
        let mut host = complete();
        host.fill_paused.insert("0".to_owned(), "failed".to_owned());
        let change = read_update(&filled(&host), &host).unwrap();
        assert_eq!(change.fill.as_ref(), Some(&host.settings.fill));
    }

    #[test]
    fn an_incomplete_pair_is_reported_at_its_field() {
        let form = Form::filled([
            ("tls.ca", "pem".to_owned()),
            ("ports.first", "20000".to_owned()),
            ("images", "nonsense".to_owned()),
        ]);
        let fields = read_create(&form).unwrap_err().problem().fields;
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["images", "ports", "tls"]);
    }

    #[test]
    fn the_fill_policy_is_parsed_line_by_line() {
        let mut form = Form::default();
        form.fill("fill.0.type", "cometbft");
        form.fill("fill.0.parameters", "validators=7");
        form.fill("fill.2.type", "fabric");
        form.fill("fill.2.share", "2");
        let fill = read_create(&form).unwrap().fill.unwrap();
        assert_eq!(
            (fill[0].preset.as_str(), fill[0].share, fill[1].share),
            ("default", 1, 2)
        );
        assert_eq!(fill[0].parameters["validators"], 7);
    }
}
