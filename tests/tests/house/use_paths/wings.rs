//! The wings of a crate: folders of which each uses only itself and those below it.

use super::graph::{Files, arrows};

/// A crate with wings.
pub(super) struct Wings<'a> {
    /// The root module, above all wings.
    pub(super) root: &'a str,
    /// Folders beside the root module, the highest first. The files beside it are below all wings.
    pub(super) folders: &'a [&'a str],
}

impl Wings<'_> {
    /// The wing of a file, counted from the lowest; `None` for the root module.
    fn of(&self, file: &str) -> Option<usize> {
        let (folder, _) = self.root.rsplit_once('/').unwrap_or_default();
        let inside = file.strip_prefix(folder).unwrap_or(file).trim_start_matches('/');
        let wing = inside.split_once('/').map_or("", |(wing, _)| wing);
        let place = self.folders.iter().position(|folder| *folder == wing);
        (file != self.root).then(|| place.map_or(0, |place| self.folders.len() - place))
    }

    /// Uses that lead up.
    pub(super) fn violations(&self, files: &Files) -> Vec<String> {
        let leads_up = |from: &str, to: &str| matches!((self.of(from), self.of(to)), (Some(from), Some(to)) if from < to);
        arrows(files, self.root)
            .iter()
            .filter(|arrow| leads_up(&arrow.from, &arrow.to))
            .map(|arrow| format!("{}:{} uses {} ({})", arrow.from, arrow.line, arrow.to, arrow.name))
            .collect()
    }
}
