//! `chainpool network-type …`.

use crate::{
    client::Client,
    exit::{Exit, Failure, Result},
    output::{self, NONE, clean},
};
use chainpool_api::{NetworkType, Parameter, Preset};
use clap::Subcommand;

/// Verbs of network types.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List network types
    List,
    /// Show a network type with its parameters and presets
    Show {
        /// Network type name
        network_type: String,
    },
}

/// Runs a verb.
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    let response = client.network_type_list().await?;
    match verb {
        Verb::List if json => output::json(&response.json),
        Verb::List => output::line(table(&response.value.items)),
        Verb::Show { network_type } => {
            // The API has only a list route, and the list is short.
            let types = &response.value.items;
            let Some(place) = types.iter().position(|known| known.name == network_type) else {
                let known: Vec<&str> = types.iter().map(|known| known.name.as_str()).collect();
                return Err(Failure::new(
                    Exit::NotFound,
                    format!(
                        "no network type {network_type:?}; use one of: {}",
                        known.join(", ")
                    ),
                ));
            };
            if json {
                output::json(&response.json["items"][place])
            } else {
                output::line(details(&types[place]))
            }
        }
    }
}

fn table(types: &[NetworkType]) -> String {
    let rows = types.iter().map(
        |NetworkType {
             name,
             about,
             version,
             consensus,
             presets,
             ..
         }| {
            let presets: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
            vec![
                name.clone(),
                version.clone(),
                consensus.clone(),
                presets.join(", "),
                about.clone(),
            ]
        },
    );
    output::table(
        &["NAME", "VERSION", "CONSENSUS", "PRESETS", "ABOUT"],
        rows.collect(),
    )
}

fn details(network_type: &NetworkType) -> String {
    let NetworkType {
        name,
        about,
        version,
        consensus,
        parameters,
        presets,
        certificates,
        images,
    } = network_type;
    let head = output::fields(&[
        ("name", name.clone()),
        ("about", about.clone()),
        ("version", version.clone()),
        ("consensus", consensus.clone()),
        (
            "certificate renewal",
            if *certificates { "yes" } else { "no" }.to_owned(),
        ),
        (
            "images",
            images
                .iter()
                .map(|(role, images)| format!("{role}: {}", images.join(", ")))
                .collect::<Vec<_>>()
                .join("; "),
        ),
    ]);
    let parameters = parameters.iter().map(
        |Parameter {
             name,
             about,
             kind,
             default,
             min,
             max,
             one_of,
             amendable,
         }| {
            let allowed = match (min, max) {
                (None, None) if one_of.is_empty() => NONE.to_owned(),
                (None, None) => one_of.join(" or "),
                (min, max) => format!(
                    "{} to {}",
                    output::maybe(min.as_ref()),
                    output::maybe(max.as_ref())
                ),
            };
            let while_running = if *amendable { "yes" } else { "no" };
            vec![
                name.clone(),
                kind.to_string(),
                default.to_string(),
                allowed,
                while_running.to_owned(),
                about.clone(),
            ]
        },
    );
    let presets = presets.iter().map(
        |Preset {
             name,
             about,
             parameters,
         }| vec![name.clone(), clean(&parameters.to_string()), about.clone()],
    );
    format!(
        "{head}\n\n{}\n\n{}",
        output::table(
            &["PARAMETER", "KIND", "DEFAULT", "ALLOWED", "AMENDABLE", "ABOUT"],
            parameters.collect()
        ),
        output::table(&["PRESET", "PARAMETERS", "ABOUT"], presets.collect()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn details_show_the_allowed_values_of_a_parameter() {
        let network_type: NetworkType = from_value(json!({
            "name": "odd", "about": "", "version": "1", "consensus": "none", "presets": [], "images": {},
            "parameters": [
                {"name": "version", "about": "The line.", "kind": "text", "default": "2.5", "one_of": ["2.5", "3.1"]},
                {"name": "count", "about": "How many.", "kind": "integer", "default": 1, "min": 1, "max": 4},
            ],
        }))
        .unwrap();
        let shown = details(&network_type);
        let line = |name: &str| {
            shown
                .lines()
                .rfind(|line| line.starts_with(name))
                .unwrap_or_default()
                .to_owned()
        };
        assert!(
            line("version ").contains("2.5 or 3.1") && line("count ").contains("1 to 4"),
            "{shown}"
        );
    }
}
