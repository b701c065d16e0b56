//! The wings of a crate: folders of which each uses only itself and those below it.

use super::graph::{Files, arrows, modules};
use std::collections::BTreeMap;

/// A crate with wings.
pub(super) struct Wings<'a> {
    /// The root module.
    pub(super) root: &'a str,
    /// Folders beside the root module, the highest first. The files beside it are below all wings.
    pub(super) folders: &'a [&'a str],
    /// Files beside the root module that are above all wings, as the root module itself.
    pub(super) above: &'a [&'a str],
    /// The type whose methods are spread over the wings, and the names of its values. A `use` path does not show
    /// who calls a method.
    pub(super) object: (&'a str, &'a [&'a str]),
}

impl Wings<'_> {
    /// The wing of a file, counted from the lowest; `None` for files above all.
    fn of(&self, file: &str) -> Option<usize> {
        let (folder, root) = self.root.rsplit_once('/').unwrap_or(("", self.root));
        let inside = file.strip_prefix(folder).unwrap_or(file).trim_start_matches('/');
        if inside == root || self.above.contains(&inside) {
            return None;
        }
        let wing = inside.split_once('/').map_or("", |(wing, _)| wing);
        let place = self.folders.iter().position(|folder| *folder == wing);
        Some(place.map_or(0, |place| self.folders.len() - place))
    }

    /// Uses and method calls that lead up.
    pub(super) fn violations(&self, files: &Files) -> Vec<String> {
        let leads_up = |from: &str, to: &str| matches!((self.of(from), self.of(to)), (Some(from), Some(to)) if from < to);
        let used = arrows(files, self.root);
        let used = used
            .iter()
            .filter(|arrow| leads_up(&arrow.from, &arrow.to))
            .map(|arrow| format!("{}:{} uses {} ({})", arrow.from, arrow.line, arrow.to, arrow.name));
        let modules = modules(files, self.root);
        let (object, values) = self.object;
        let mut methods: BTreeMap<&str, &str> = BTreeMap::new();
        for (file, module) in &modules {
            let own = module.methods.iter().filter(|(of, _)| of == object);
            methods.extend(own.map(|(_, name)| (name.as_str(), file.as_str())));
        }
        let mut called = Vec::new();
        for (file, module) in &modules {
            for call in module.calls.iter().chain(&module.paths) {
                let [on, name] = call.segments.as_slice() else {
                    continue;
                };
                let is_object = values.contains(&on.as_str()) || [object, "Self"].contains(&on.as_str());
                if let Some(to) = methods
                    .get(name.as_str())
                    .filter(|to| is_object && leads_up(file, to))
                {
                    called.push(format!("{file}:{} calls {name} of {to}", call.line));
                }
            }
        }
        used.chain(called).collect()
    }
}
