//! `chainpool account …`.

use crate::{
    args::{YesArgs, enum_parser},
    client::Client,
    confirm,
    exit::Result,
    output::{self, when, yes},
};
use chainpool_api::{Account, AccountCreate, ResetLink, Role};
use clap::Subcommand;
use url::Url;

/// Verbs of accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List accounts
    List,
    /// Create an account and print the one-time link to set its password
    Create {
        /// Account name
        account: String,
        /// Role of the account
        #[arg(long, value_parser = enum_parser!(Role), default_value = "user")]
        role: Role,
    },
    /// Delete an account without leases
    Delete {
        /// Account name
        account: String,
        #[command(flatten)]
        yes: YesArgs,
    },
    /// Print a one-time link to set a password; it expires after 1 hour
    ResetLink {
        /// Account name
        account: String,
    },
}

/// Runs a verb.
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    match verb {
        Verb::List => {
            let response = client.account_list().await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(table(&response.value.items))
            }
        }
        Verb::Create { account, role } => {
            let response = client
                .account_create(&AccountCreate { name: account, role })
                .await?;
            if json {
                return output::json(&response.json);
            }
            let account = response.value.name;
            output::note(format_args!(
                "account {account} created; set its password through this link within 1 hour:"
            ));
            output::line(link_url(
                client.public(),
                &client.account_reset_link(&account).await?.value,
            ))
        }
        Verb::Delete { account, yes } => {
            confirm::ask(&yes, &format!("This deletes account {account}.")).await?;
            client.account_delete(&account).await?;
            output::note(format_args!("account {account} deleted"));
            Ok(())
        }
        Verb::ResetLink { account } => {
            let response = client.account_reset_link(&account).await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(link_url(client.public(), &response.value))
            }
        }
    }
}

/// URL of a one-time link: the dashboard's `/welcome/…` with the secret part from the server.
fn link_url(server: &Url, link: &ResetLink) -> Url {
    let mut url = server.clone();
    url.path_segments_mut()
        .expect("an http address has a path")
        .pop_if_empty()
        .extend(["welcome", &link.link]);
    url
}

fn table(accounts: &[Account]) -> String {
    let rows = accounts.iter().map(
        |Account {
             id: _,
             name,
             role,
             has_password,
             created_at,
         }| {
            vec![
                name.clone(),
                role.to_string(),
                yes(*has_password),
                when(*created_at),
            ]
        },
    );
    output::table(&["NAME", "ROLE", "PASSWORD", "CREATED"], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_contains_the_server_address_and_path() {
        let link = ResetLink {
            link: "s3cret".into(),
        };
        for (server, expected) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/welcome/s3cret"),
            (
                "https://example.org/pool/",
                "https://example.org/pool/welcome/s3cret",
            ),
        ] {
            assert_eq!(link_url(&server.parse().unwrap(), &link).as_str(), expected);
        }
    }
}
