//! The form that creates a cluster. Its parameters come from the network type.

use crate::{
    error::PageResult,
    form::{Form, Reader, typed},
    page::{self, Frame},
    redirect::see_other,
    request::AuthedRequest,
    state::App,
};
use askama::Template;
use axum::{extract::State, response::IntoResponse};
use chainpool_api as api;
use chainpool_orchestrator::Error;
use http::StatusCode;
use serde_json::{Map, Value};

#[derive(Template)]
#[template(path = "clusters/form.html")]
struct ClusterForm {
    frame: Frame,
    form: Form,
    types: Vec<api::NetworkType>,
    chosen: Option<api::NetworkType>,
    hosts: Vec<api::Host>,
}

impl ClusterForm {
    fn is_chosen(&self, kind: &api::NetworkType) -> bool {
        self.chosen
            .as_ref()
            .is_some_and(|chosen| chosen.name == kind.name)
    }
}

/// An empty form for the network type in the address, or for the first network type.
pub(crate) async fn new(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let mut form = Form::default();
    for name in ["type", "host", "preset"] {
        if let Some(value) = request.query(name) {
            form.fill(name, value);
        }
    }
    render(&app, &request, form).await
}

/// Creates a cluster.
pub(crate) async fn create(State(app): State<App>, request: AuthedRequest, form: Form) -> PageResult {
    let types = app.orchestrator.network_types(&request.caller);
    let created = match read(&form, &types) {
        Ok(new) => app.orchestrator.cluster_create(&form.caller(&request), new).await,
        Err(error) => Err(error),
    };
    match created {
        Ok(operation) => Ok(see_other(&format!("/operations/{}", operation.id))),
        Err(error) => render(&app, &request, form.rejected(error, &request.info)?).await,
    }
}

async fn render(app: &App, request: &AuthedRequest, form: Form) -> PageResult {
    let types = app.orchestrator.network_types(&request.caller);
    let chosen = types
        .iter()
        .find(|each| each.name == form.get("type"))
        .or(types.first())
        .cloned();
    let hosts = app
        .orchestrator
        .host_list(&request.caller, &api::HostFilter::default())
        .await?
        .items;
    let status = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |rejection| rejection.status);
    let frame = Frame::new(app, request, "clusters", "Create a cluster")
        .await
        .crumb("Clusters", "/clusters")
        .crumb("Create", "");
    Ok((
        status,
        page::html(&ClusterForm {
            frame,
            form,
            types,
            chosen,
            hosts,
        })?,
    )
        .into_response())
}

fn read(form: &Form, types: &[api::NetworkType]) -> Result<api::ClusterCreate, Error> {
    let mut reader = form.reader();
    let labels = reader.labels("labels");
    let chosen = types.iter().find(|each| each.name == form.get("type"));
    let parameters = parameters(
        &mut reader,
        chosen.map(|each| each.parameters.as_slice()).unwrap_or_default(),
    );
    reader.finish(api::ClusterCreate {
        name: form.text("name"),
        host: form.text("host"),
        network_type: form.text("type"),
        preset: form.text("preset"),
        parameters,
        labels,
    })
}

/// The parameters that have a value in the form, parsed by their kind.
pub(super) fn parameters(reader: &mut Reader, known: &[api::Parameter]) -> Map<String, Value> {
    let mut parameters = Map::new();
    for parameter in known {
        let field = format!("parameters.{}", parameter.name);
        let Some(text) = reader.form.text(&field) else {
            continue;
        };
        let value = match parameter.kind {
            api::ParameterKind::Text => Value::from(text),
            api::ParameterKind::List => text
                .split([',', ' '])
                .filter(|entry| !entry.is_empty())
                .map(str::to_owned)
                .collect(),
            api::ParameterKind::Integer | api::ParameterKind::Boolean => typed(&text),
        };
        let fits = match parameter.kind {
            api::ParameterKind::Integer => value.is_i64() || value.is_u64(),
            api::ParameterKind::Boolean => value.is_boolean(),
            api::ParameterKind::Text => value.is_string(),
            api::ParameterKind::List => value.is_array(),
        };
        if !fits {
            reader.wrong(&field, format!("{} is not {}", value, parameter.kind));
        }
        parameters.insert(parameter.name.clone(), value);
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_parsed_by_their_kind() {
        let mut form = Form::default();
        form.fill("type", "cometbft");
        form.fill("parameters.validators", "7");
        form.fill("labels", "team=blue");
        let new = read(&form, &[crate::samples::network_type()]).unwrap();
        assert_eq!(
            (new.parameters["validators"].clone(), new.labels["team"].as_str()),
            (serde_json::json!(7), "blue")
        );
        assert_eq!(new.parameters.len(), 1, "empty fields come from the preset");
        form = Form::default();
        form.fill("type", "cometbft");
        form.fill("parameters.validators", "some");
        assert!(
            read(&form, &[crate::samples::network_type()])
                .unwrap_err()
                .problem()
                .fields
                .contains_key("parameters.validators")
        );
    }
}
