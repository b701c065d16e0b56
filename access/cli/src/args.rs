//! The command line: which nouns there are, and what all of their verbs share.

use crate::{account, backup, cluster, exit, host, lease, network, operation, serve, span, status, token};
use clap::{Arg, Args, Command as Page, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

/// Keeps a pool of ready blockchain networks on machines you own.
#[derive(Debug, Parser)]
#[command(name = "chainpool", version, after_help = exit::HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every client verb takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server and output")]
pub(crate) struct Global {
    /// Prints the API's answer as one JSON document
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[arg(
        help = "The server's address, such as https://pool.example.org; otherwise that of the local server"
    )]
    #[arg(long, global = true, env = "CHAINPOOL_SERVER", hide_env_values = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) server: Option<String>,
    #[arg(
        help = "A file that holds a token and nothing else; otherwise CHAINPOOL_TOKEN, or the local administrator's"
    )]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// The authority of the server's certificate, in PEM, where it is not a public one
    #[arg(long, global = true, env = "CHAINPOOL_SERVER_CA", hide_env_values = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) server_ca: Option<PathBuf>,
    /// The data folder of the local server
    #[arg(long, global = true, env = "CHAINPOOL_DATA", hide_env_values = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
}

/// The nouns, and the few verbs that concern the whole.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the server
    Serve(serve::ServeArgs),
    /// The machines that clusters run on
    #[command(subcommand)]
    Host(host::Verb),
    /// The blockchain networks
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Who holds which cluster until when
    #[command(subcommand)]
    Lease(lease::Verb),
    /// What is being done, was done, and how it ended
    #[command(subcommand)]
    Operation(operation::Verb),
    /// What can be made, and with which parameters
    #[command(subcommand)]
    NetworkType(network::Verb),
    /// Who may sign in
    #[command(subcommand)]
    Account(account::Verb),
    /// What programs sign in with
    #[command(subcommand)]
    Token(token::Verb),
    /// Says how the whole is; ends with 1 when anything is wrong
    Status,
    /// Ends the pause after a restore; the free clusters are made again
    Resume(status::ResumeArgs),
    /// Writes a consistent copy of the server's database to a file; the master key is not in it
    Backup(backup::BackupArgs),
    /// Puts a backup into the data folder of a server that is stopped
    Restore(backup::RestoreArgs),
    #[command(about = "Prints the description of the REST API (OpenAPI 3.1)")]
    Openapi,
    /// Prints a shell's completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How many items a list may have.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// At most so many
    #[arg(long, default_value_t = 1000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

/// Whether to wait for an operation.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitArgs {
    /// Waits until it is over and shows its steps as they happen
    #[arg(long)]
    pub(crate) wait: bool,
    /// Waits no longer than this; the operation goes on
    #[arg(long, requires = "wait", value_name = "TIME", value_parser = span::seconds)]
    pub(crate) timeout: Option<u64>,
}

/// A question that can be answered beforehand.
#[derive(Debug, Clone, Args)]
pub(crate) struct YesArgs {
    /// Does not ask; needed where there is no terminal to ask on
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// Reads `key=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// Reads `name=value` for a parameter of a network type: numbers, true/false and lists of texts are such,
/// all else is text.
pub(crate) fn parameter(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = pair(text)?;
    let value = match serde_json::from_str(&value) {
        Ok(plain @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) => plain,
        Ok(serde_json::Value::Array(list)) if list.iter().all(serde_json::Value::is_string) => list.into(),
        _ => serde_json::Value::String(value),
    };
    Ok((name, value))
}

/// One of the words of an enum of the API, with the words in help and completions.
macro_rules! word {
    ($name:ty) => {{
        use clap::builder::TypedValueParser as _;
        clap::builder::PossibleValuesParser::new(<$name>::ALL.iter().map(|value| value.as_str()))
            .try_map(|word| word.parse::<$name>())
    }};
}
pub(crate) use word;

/// The whole command line. What speaks to no server does not offer to choose one.
pub(crate) fn page() -> Page {
    let page = Cli::command();
    let useless = |names: &[&str]| -> Vec<Arg> {
        page.get_arguments()
            .filter(|arg| names.contains(&arg.get_id().as_str()))
            .map(|arg| arg.clone().hide(true))
            .collect()
    };
    let local = useless(&["json", "server", "token_file", "server_ca"]);
    let pure = useless(&["json", "server", "token_file", "server_ca", "data"]);
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

/// Reads the command line, or ends with help (0) or with what is wrong with it (2).
pub(crate) fn parse() -> Cli {
    let matches = page().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every page of the help, each with the words that lead to it.
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
    fn every_page_of_the_help_is_as_it_was() {
        let mut page = page();
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
    fn the_token_is_no_argument() {
        let mut page = page();
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
    fn options_of_the_way_stand_before_and_after_the_noun() {
        for line in [
            "chainpool --json --server http://a host list",
            "chainpool host --json list --server http://a",
            "chainpool host list --server http://a --json",
        ] {
            let matches = page().get_matches_from(line.split(' '));
            let Cli { global, .. } = Cli::from_arg_matches(&matches).unwrap();
            assert!(
                global.json && global.server.as_deref() == Some("http://a"),
                "{line}"
            );
        }
    }

    #[test]
    fn the_data_folder_of_serve_stands_before_and_after_it() {
        for line in ["chainpool serve --data /d", "chainpool --data /d serve"] {
            let matches = page().get_matches_from(line.split(' '));
            match Cli::from_arg_matches(&matches).unwrap().command {
                Command::Serve(args) => assert_eq!(args.data, Some("/d".into()), "{line}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_ends_with_two() {
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
            let error = page().try_get_matches_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
        }
    }

    #[test]
    fn parameters_are_numbers_truths_lists_or_texts() {
        use serde_json::json;
        for (text, value) in [
            ("a=7", json!(7)),
            ("a=true", json!(true)),
            ("a=500ms", json!("500ms")),
            ("a=", json!("")),
            ("a=[1]", json!("[1]")),
            (r#"a=["b","c"]"#, json!(["b", "c"])),
            ("a=[]", json!([])),
            ("a=null", json!("null")),
        ] {
            assert_eq!(parameter(text), Ok(("a".into(), value)), "{text}");
        }
        assert!(parameter("=7").is_err());
    }
}
