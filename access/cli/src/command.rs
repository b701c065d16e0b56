//! The command line: resources, and the verbs of the whole installation.

use crate::{
    account, args::Global, backup, cluster, exit, host, lease, network, operation, serve, status, token,
};
use clap::{Arg, Command as Page, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Manage a pool of ready-to-use blockchain networks on your own machines
#[derive(Debug, Parser)]
#[command(name = "chainpool", version, after_help = exit::HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Resources, and the verbs of the whole installation.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(serve::ServeArgs),
    /// Manage hosts
    #[command(subcommand)]
    Host(host::Verb),
    /// Manage clusters (blockchain networks)
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Manage leases
    #[command(subcommand)]
    Lease(lease::Verb),
    /// Inspect operations
    #[command(subcommand)]
    Operation(operation::Verb),
    /// Inspect network types, their parameters and presets
    #[command(subcommand)]
    NetworkType(network::Verb),
    /// Manage accounts
    #[command(subcommand)]
    Account(account::Verb),
    /// Manage API tokens
    #[command(subcommand)]
    Token(token::Verb),
    /// Show overall health; exit with status 1 if there are problems
    Status,
    /// Resume after a restore; resets all free clusters
    Resume(status::ResumeArgs),
    /// Write a consistent backup of the server's database to a file, without the master key
    Backup(backup::BackupArgs),
    /// Restore a backup into the data folder of a stopped server
    Restore(backup::RestoreArgs),
    #[command(about = "Print the OpenAPI 3.1 document of the REST API")]
    Openapi,
    /// Print shell completions
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
}

/// The whole command line. Hides the server options of verbs without a server.
pub(crate) fn command_line() -> Page {
    let page = Cli::command();
    let hidden_args = |names: &[&str]| -> Vec<Arg> {
        page.get_arguments()
            .filter(|arg| names.contains(&arg.get_id().as_str()))
            .map(|arg| arg.clone().hide(true))
            .collect()
    };
    let local = hidden_args(&["json", "server", "token_file", "server_ca"]);
    let pure = hidden_args(&["json", "server", "token_file", "server_ca", "data"]);
    [
        ("serve", &local),
        ("restore", &local),
        ("openapi", &pure),
        ("completions", &pure),
    ]
    .into_iter()
    .fold(page.clone(), |page, (name, hidden)| {
        page.mut_subcommand(name, |sub| sub.args(hidden.clone()))
    })
}

/// Parses the command line, or exits with help (status 0) or a usage error (status 2).
pub(crate) fn parse() -> Cli {
    let matches = command_line().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects every help page with its subcommand path.
    fn pages(mut page: Page, words: &[String], found: &mut Vec<(Vec<String>, String)>) {
        page = page.term_width(100);
        let subs: Vec<Page> = page
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
            .cloned()
            .collect();
        found.push((words.to_vec(), page.render_long_help().to_string()));
        for sub in subs {
            let words = [words, &[sub.get_name().to_owned()]].concat();
            pages(sub, &words, found);
        }
    }

    #[test]
    fn help_pages_match_their_snapshots() {
        let mut page = command_line();
        page.build();
        page.clone().debug_assert();
        let mut found = Vec::new();
        pages(page, &["chainpool".to_owned()], &mut found);
        assert!(found.len() > 50, "{}", found.len());
        insta::with_settings!({ snapshot_path => "snapshots/help", prepend_module_to_snapshot => false, omit_expression => true }, {
            for (words, text) in found {
                assert!(text.lines().all(|line| line.chars().count() <= 100), "{words:?}");
                insta::assert_snapshot!(words.join("_"), text);
            }
        });
    }

    #[test]
    fn secrets_are_not_passed_as_arguments() {
        let mut page = command_line();
        page.build();
        let mut found = Vec::new();
        pages(page, &[], &mut found);
        assert!(
            found
                .iter()
                .all(|(_, text)| !text.contains("--token ") && !text.contains("--password "))
        );
    }

    #[test]
    fn global_options_are_accepted_at_every_position() {
        for line in [
            "chainpool --json --server http://a host list",
            "chainpool host --json list --server http://a",
            "chainpool host list --server http://a --json",
        ] {
            let matches = command_line().get_matches_from(line.split(' '));
            let Cli { global, .. } = Cli::from_arg_matches(&matches).unwrap();
            assert!(
                global.json && global.server.as_deref() == Some("http://a"),
                "{line}"
            );
        }
    }

    #[test]
    fn the_data_folder_of_serve_is_accepted_at_every_position() {
        for line in ["chainpool serve --data /d", "chainpool --data /d serve"] {
            let matches = command_line().get_matches_from(line.split(' '));
            match Cli::from_arg_matches(&matches).unwrap().command {
                Command::Serve(args) => assert_eq!(args.data, Some("/d".into()), "{line}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn usage_errors_exit_with_status_two() {
        for line in [
            "chainpool",
            "chainpool host",
            "chainpool host list extra",
            "chainpool host list --limit 0",
            "chainpool host list --state gone",
            "chainpool cluster update c1",
            "chainpool cluster create --set validators",
            "chainpool cluster stop c1 --timeout 10m",
            "chainpool host fillup h1 --wait --timeout soon",
            "chainpool lease apply --ttl 0",
            "chainpool operation show not-an-id",
            "chainpool host adopt h1",
            "chainpool host create h1",
            "chainpool host create h1 --address unix:///x --registry-user u",
            "chainpool serve --tls-cert x",
        ] {
            let error = command_line().try_get_matches_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
        }
    }
}
