//! The data folder, and the local administrator's context file in it.

use crate::exit::{Exit, Failure, Result};
use serde::{Deserialize, Serialize};
use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
};

/// Name of the local administrator's context file.
pub(crate) const CONTEXT: &str = "admin.context";

/// Address and token of the local server: written by `serve` with mode 0600, read by the client verbs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Context {
    /// URL, such as `http://127.0.0.1:8080`.
    pub(crate) server: String,
    /// The local administrator's token.
    pub(crate) token: String,
    /// Public URL, behind a proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    /// The server's certificate in PEM, if it terminates TLS; the client trusts only this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("server", &self.server)
            .field("token", &"***")
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Reads the file of a data folder; `None` if it does not exist.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(CONTEXT);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let advice = "run this as the server's user, or use --server and --token-file";
                return Err(Failure::new(
                    Exit::Usage,
                    format!("cannot read {}: {error}; {advice}", path.display()),
                ));
            }
        };
        // The parser's error quotes the line, which may contain the token.
        toml::from_str(&text).map(Some).map_err(|_| {
            Failure::new(
                Exit::Usage,
                format!("{} is damaged; restart the server to rewrite it", path.display()),
            )
        })
    }
}

/// The data folder: the given one, else `/var/lib/chainpool` as root, else the XDG data folder.
pub(crate) fn folder(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(folder) => Ok(folder.to_owned()),
        None if rustix::process::geteuid().is_root() => Ok(PathBuf::from("/var/lib/chainpool")),
        None => xdg(
            env::var_os("XDG_DATA_HOME").map(PathBuf::from),
            env::var_os("HOME").map(PathBuf::from),
        )
        .ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "no home directory; set the data folder with --data or CHAINPOOL_DATA",
            )
        }),
    }
}

/// XDG base directory specification: a relative `XDG_DATA_HOME` is ignored.
fn xdg(data_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let base = data_home.filter(|path| path.is_absolute()).or_else(|| {
        home.filter(|path| path.is_absolute())
            .map(|home| home.join(".local/share"))
    })?;
    Some(base.join("chainpool"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_follows_the_xdg_specification() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(xdg(path("/x"), path("/home/a")), path("/x/chainpool"));
        assert_eq!(
            xdg(path("relative"), path("/home/a")),
            path("/home/a/.local/share/chainpool")
        );
        assert_eq!(xdg(None, None), None);
    }

    #[test]
    fn a_damaged_context_file_is_never_quoted_in_errors() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Context::read(folder.path()).unwrap(), None);
        let file = folder.path().join(CONTEXT);
        fs::write(&file, "server = \"http://127.0.0.1:8080\"\ntoken = \"s3cret\"\n").unwrap();
        let context = Context::read(folder.path()).unwrap().unwrap();
        assert_eq!(
            (
                context.server.as_str(),
                context.token.as_str(),
                &context.certificate
            ),
            ("http://127.0.0.1:8080", "s3cret", &None)
        );
        assert!(!format!("{context:?}").contains("s3cret"));
        fs::write(&file, "token = s3cret").unwrap();
        let failure = Context::read(folder.path()).unwrap_err();
        assert!(
            failure.message.contains("damaged") && !failure.message.contains("s3cret"),
            "{failure}"
        );
    }
}
