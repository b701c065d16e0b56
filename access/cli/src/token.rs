//! `chainpool token …`.

use crate::{
    args::YesArgs,
    client::Client,
    confirm, duration,
    exit::Result,
    output::{self, when, yes},
};
use chainpool_api::{Token, TokenCreate};
use clap::Subcommand;
use uuid::Uuid;

/// Verbs of API tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a token and print its secret, which is shown once
    Create {
        /// Name of the token, for example its purpose
        name: String,
        /// Allow leases for named holders, stored as ACCOUNT/HOLDER (admins only)
        ///
        /// The token can read, renew and release every lease of its own account, read the bundles with their
        /// private keys, and work with the clusters of those leases. It cannot access leases of other
        /// accounts. A local account with the name of a holder gets no access to these leases.
        #[arg(long)]
        lease_any: bool,
        /// Account of the token (admins only); default: yours
        #[arg(long)]
        account: Option<String>,
        /// Lifetime, such as 30d; default: no expiry
        #[arg(long, value_name = "TIME", value_parser = duration::seconds)]
        ttl: Option<u64>,
    },
    /// List your tokens; admins see all tokens
    List,
    /// Revoke a token
    Delete {
        /// Token id
        token: Uuid,
        #[command(flatten)]
        yes: YesArgs,
    },
}

/// Runs a verb.
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    match verb {
        Verb::Create {
            name,
            lease_any,
            account,
            ttl,
        } => {
            let response = client
                .token_create(&TokenCreate {
                    name,
                    lease_any,
                    account,
                    ttl_seconds: ttl,
                })
                .await?;
            if json {
                return output::json(&response.json);
            }
            let Token { id, account, .. } = &response.value.token;
            output::note(format_args!(
                "token {id} of account {account} created; its secret, shown only once:"
            ));
            output::line(&response.value.secret)
        }
        Verb::List => {
            let response = client.token_list().await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(table(&response.value.items))
            }
        }
        Verb::Delete { token, yes } => {
            confirm::ask(
                &yes,
                &format!("This revokes token {token}: programs that use it lose access."),
            )
            .await?;
            client.token_delete(token).await?;
            output::note(format_args!("token {token} revoked"));
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
