//! The form by which a running cluster is changed: what its network type lets change, as it is now.

use super::form::parameters;
use crate::{
    error::Outcome,
    form::Form,
    format,
    page::{self, Frame, see_other},
    session::Visit,
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
use serde_json::{Map, Value};

/// The tick that asks for new certificates.
const RENEW: &str = "renew_certificates";

#[derive(Template)]
#[template(path = "clusters/amend.html")]
struct AmendForm {
    frame: Frame,
    form: Form,
    cluster: api::Cluster,
    parameters: Vec<api::Parameter>,
    certificates: bool,
}

/// The form with the present values.
pub(crate) async fn edit(State(app): State<App>, visit: Visit, Path(cluster): Path<String>) -> Outcome {
    let cluster = app.orchestrator.cluster_show(&visit.caller, &cluster).await?;
    let mut form = Form::default();
    for parameter in amendable(&kind(&app, &visit, &cluster)?) {
        form.fill(
            format!("parameters.{}", parameter.name),
            format::value(present(&cluster, &parameter)),
        );
    }
    draw(&app, &visit, cluster, form).await
}

/// Asks for the change.
pub(crate) async fn amend(
    State(app): State<App>,
    visit: Visit,
    Path(cluster): Path<String>,
    form: Form,
) -> Outcome {
    let cluster = app.orchestrator.cluster_show(&visit.caller, &cluster).await?;
    let asked = match read(&form, &cluster, &kind(&app, &visit, &cluster)?) {
        Ok(amend) => {
            app.orchestrator
                .cluster_amend(&form.caller(&visit), &cluster.id.to_string(), amend)
                .await
        }
        Err(error) => Err(error),
    };
    match asked {
        Ok(operation) => Ok(see_other(&format!("/operations/{}", operation.id))),
        Err(error) => draw(&app, &visit, cluster, form.refused(error, &visit.manner)?).await,
    }
}

fn kind(app: &App, visit: &Visit, cluster: &api::Cluster) -> Result<api::NetworkType, Error> {
    let types = app.orchestrator.network_types(&visit.caller);
    types
        .into_iter()
        .find(|kind| kind.name == cluster.network_type)
        .ok_or_else(|| Error::not_found("network type", &cluster.network_type))
}

/// What of a type may change while a network runs.
pub(super) fn amendable(kind: &api::NetworkType) -> Vec<api::Parameter> {
    kind.parameters
        .iter()
        .filter(|parameter| parameter.amendable)
        .cloned()
        .collect()
}

/// A parameter's present value; its default in a cluster of before there was such a parameter.
fn present<'a>(cluster: &'a api::Cluster, parameter: &'a api::Parameter) -> &'a Value {
    cluster
        .parameters
        .get(&parameter.name)
        .unwrap_or(&parameter.default)
}

/// What differs from the present values. Where nothing does, all of them, which goes on with an earlier try.
fn read(form: &Form, cluster: &api::Cluster, kind: &api::NetworkType) -> Result<api::ClusterAmend, Error> {
    let mut reader = form.reader();
    let given = parameters(&mut reader, &amendable(kind));
    let renew_certificates = form.ticked(RENEW);
    let is_present = |name: &str, value: &Value| {
        kind.parameters
            .iter()
            .any(|p| p.name == name && present(cluster, p) == value)
    };
    let changed: Map<_, _> = given
        .clone()
        .into_iter()
        .filter(|(name, value)| !is_present(name, value))
        .collect();
    let parameters = if changed.is_empty() && !renew_certificates {
        given
    } else {
        changed
    };
    reader.finish(api::ClusterAmend {
        parameters,
        renew_certificates,
    })
}

async fn draw(app: &App, visit: &Visit, cluster: api::Cluster, form: Form) -> Outcome {
    let kind = kind(app, visit, &cluster)?;
    let status = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |refused| refused.status);
    let back = format!("/clusters/{}", cluster.name);
    let frame = Frame::new(app, visit, "clusters", format!("Amend {}", cluster.name))
        .await
        .crumb("Clusters", "/clusters")
        .crumb(&cluster.name, back)
        .crumb("Amend", "");
    let page = AmendForm {
        frame,
        form,
        cluster,
        parameters: amendable(&kind),
        certificates: kind.certificates,
    };
    Ok((status, page::html(&page)?).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendered::{frame, keeps_the_rules};
    use chainpool_api::HealthState;

    #[test]
    fn only_what_differs_is_asked_for_and_all_of_it_when_nothing_does() {
        let mut kind = crate::samples::network_type();
        kind.parameters[0].amendable = true;
        let cluster = crate::samples::cluster("amber", HealthState::Healthy);
        let amend = |kind: &api::NetworkType, value: &str, renew: bool| {
            let mut form = Form::default();
            form.fill("parameters.validators", value);
            form.fill("parameters.empty_blocks", "false");
            if renew {
                form.fill(RENEW, "yes");
            }
            read(&form, &cluster, kind).map(|amend| {
                (
                    serde_json::Value::from(amend.parameters),
                    amend.renew_certificates,
                )
            })
        };
        assert_eq!(
            amend(&kind, "7", false).unwrap(),
            (serde_json::json!({"validators": 7}), false)
        );
        assert_eq!(amend(&kind, "4", true).unwrap(), (serde_json::json!({}), true));
        assert_eq!(
            amend(&kind, "4", false).unwrap(),
            (serde_json::json!({"validators": 4}), false)
        );
        // The sample was made before there was a choice of empty blocks.
        kind.parameters[1].amendable = true;
        kind.parameters[1].default = false.into();
        assert_eq!(
            amend(&kind, "7", false).unwrap(),
            (serde_json::json!({"validators": 7}), false)
        );
        assert!(amend(&kind, "some", false).is_err());
    }

    #[test]
    fn the_form_begins_with_what_is_and_says_who_holds_it() {
        let parameters = crate::samples::network_type().parameters;
        let cluster = crate::samples::cluster("amber", HealthState::Healthy);
        let form = Form::filled([("parameters.validators", "4".to_owned())]);
        let page = |certificates, parameters| AmendForm {
            frame: frame(api::Role::Operator),
            form: form.clone(),
            cluster: cluster.clone(),
            parameters,
            certificates,
        };
        let html = page(true, parameters).render().unwrap();
        keeps_the_rules(&html);
        assert!(
            html.contains(r#"name="parameters.validators" value="4""#) && html.contains("renew_certificates"),
            "{html}"
        );
        assert!(html.contains("alice holds it"), "{html}");
        assert!(
            page(false, vec![])
                .render()
                .unwrap()
                .contains("cannot be changed while it runs")
        );
    }
}
