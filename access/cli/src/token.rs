//! `chainpool token …`.

use crate::{
    args::YesArgs,
    client::Client,
    confirm,
    exit::Result,
    output::{self, when, yes},
    span,
};
use chainpool_api::{Token, TokenCreate};
use clap::Subcommand;
use uuid::Uuid;

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes a token and prints its secret, which is shown this once
    Create {
        /// What it is for
        name: String,
        /// Allow applying for named holders, stored as ACCOUNT/HOLDER
        ///
        /// The token reads, renews and releases every lease that its own account applied for, reads the bundles with
        /// their private keys, and works with the clusters under those leases. It reaches no lease of another account. A
        /// local account that has the name of a holder gets none of these leases.
        #[arg(long)]
        lease_any: bool,
        /// For this account, which only admins may say; you when absent
        #[arg(long)]
        account: Option<String>,
        /// Until it expires, such as 30d; without end when absent
        #[arg(long, value_name = "TIME", value_parser = span::seconds)]
        ttl: Option<u64>,
    },
    /// Lists your tokens; an admin's list has all
    List,
    /// Ends a token
    Delete {
        /// Its id
        token: Uuid,
        #[command(flatten)]
        yes: YesArgs,
    },
}

/// Does a verb.
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    match verb {
        Verb::Create {
            name,
            lease_any,
            account,
            ttl,
        } => {
            let answer = client
                .token_create(&TokenCreate {
                    name,
                    lease_any,
                    account,
                    ttl_seconds: ttl,
                })
                .await?;
            if json {
                return output::json(&answer.json);
            }
            let Token { id, account, .. } = &answer.value.token;
            output::note(format_args!(
                "token {id} of account {account}; its secret, shown this once:"
            ));
            output::line(&answer.value.secret)
        }
        Verb::List => {
            let answer = client.token_list().await?;
            if json {
                output::json(&answer.json)
            } else {
                output::line(table(&answer.value.items))
            }
        }
        Verb::Delete { token, yes } => {
            confirm::ask(
                &yes,
                &format!("This ends token {token}: what uses it is not let in any more."),
            )
            .await?;
            client.token_delete(token).await?;
            output::note(format_args!("token {token} is ended"));
            Ok(())
        }
    }
}

fn table(tokens: &[Token]) -> String {
    let rows = tokens.iter().map(
        |Token {
             id,
             name,
             account,
             lease_any,
             created_at,
             expires_at,
         }| {
            let expires = expires_at.map_or_else(|| "never".to_owned(), when);
            vec![
                id.to_string(),
                name.clone(),
                account.clone(),
                yes(*lease_any),
                when(*created_at),
                expires,
            ]
        },
    );
    output::table(
        &["ID", "NAME", "ACCOUNT", "FOR OTHERS", "CREATED", "EXPIRES"],
        rows.collect(),
    )
}
