//! `chainpool account …`.

use crate::{
    args::{YesArgs, word},
    client::Client,
    confirm,
    exit::Result,
    output::{self, when, yes},
};
use chainpool_api::{Account, AccountCreate, ResetLink, Role};
use clap::Subcommand;
use url::Url;

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists the accounts
    List,
    /// Makes an account and prints the one-time link that sets its password
    Create {
        /// Its name
        account: String,
        /// What it may do
        #[arg(long, value_parser = word!(Role), default_value = "user")]
        role: Role,
    },
    /// Removes an account that holds nothing
    Delete {
        /// Its name
        account: String,
        #[command(flatten)]
        yes: YesArgs,
    },
    /// Prints a one-time link that sets a password; it lives 1 hour
    ResetLink {
        /// The account's name
        account: String,
    },
}

/// Does a verb.
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    match verb {
        Verb::List => {
            let answer = client.account_list().await?;
            if json {
                output::json(&answer.json)
            } else {
                output::line(table(&answer.value.items))
            }
        }
        Verb::Create { account, role } => {
            let answer = client
                .account_create(&AccountCreate { name: account, role })
                .await?;
            if json {
                return output::json(&answer.json);
            }
            let account = answer.value.name;
            output::note(format_args!(
                "account {account} is made; who opens this link within 1 hour sets its password:"
            ));
            output::line(full(
                client.public(),
                &client.account_reset_link(&account).await?.value,
            ))
        }
        Verb::Delete { account, yes } => {
            confirm::ask(&yes, &format!("This removes account {account}.")).await?;
            client.account_delete(&account).await?;
            output::note(format_args!("account {account} is removed"));
            Ok(())
        }
        Verb::ResetLink { account } => {
            let answer = client.account_reset_link(&account).await?;
            if json {
                output::json(&answer.json)
            } else {
                output::line(full(client.public(), &answer.value))
            }
        }
    }
}

/// The address to open: the server gives the secret part, and its dashboard takes it at `/welcome/…`.
fn full(server: &Url, link: &ResetLink) -> Url {
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
    fn the_link_is_whole() {
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
            assert_eq!(full(&server.parse().unwrap(), &link).as_str(), expected);
        }
    }
}
