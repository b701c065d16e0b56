//! Parts of image names.

/// The registry of a name: its first part, if it has a dot or a port or is `localhost`.
pub(crate) fn registry_of(name: &str) -> Option<&str> {
    let (first, _) = name.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

/// The name without tag and digest.
pub(crate) fn repository_of(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The full name as machines list it, with the default registry and tag.
pub(crate) fn full(name: &str) -> String {
    let mut full = match (registry_of(name), name.contains('/')) {
        (Some(_), _) => name.to_owned(),
        (None, true) => format!("docker.io/{name}"),
        (None, false) => format!("docker.io/library/{name}"),
    };
    if repository_of(&full) == full {
        full.push_str(":latest");
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_are_parsed() {
        for (name, repository, full_name) in [
            ("a", "a", "docker.io/library/a:latest"),
            ("a/b:1", "a/b", "docker.io/a/b:1"),
            ("h:5/a", "h:5/a", "h:5/a:latest"),
            ("h:5/a:1", "h:5/a", "h:5/a:1"),
            ("a@sha256:0", "a", "docker.io/library/a@sha256:0"),
            ("localhost/x:1", "localhost/x", "localhost/x:1"),
        ] {
            assert_eq!(
                (repository_of(name), full(name).as_str()),
                (repository, full_name),
                "{name}"
            );
        }
    }
}
