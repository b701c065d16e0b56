//! The arrows between the files of a crate: an arrow leads to the file that defines a used name.

use super::source::{self, Import, Module, Path};
use std::collections::{BTreeMap, BTreeSet};

/// Source files by path.
pub(super) type Files = BTreeMap<String, String>;
/// Names from the crate's root down to a module.
type ModulePath = Vec<String>;

/// A use of one file by another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrow {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) line: usize,
    /// The path or name in the source.
    pub(super) name: String,
}

/// The modules of one crate, each with its file.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<ModulePath, (String, Module)>,
}

/// The modules of the crate whose root module is the file `root`, each with its file.
pub(super) fn modules(files: &Files, root: &str) -> Vec<(String, Module)> {
    Crate::of(files, root).modules.into_values().collect()
}

/// The arrows of the crate whose root module is the file `root`, one for each two files.
pub(super) fn arrows(files: &Files, root: &str) -> Vec<Arrow> {
    let all = Crate::of(files, root);
    let mut found = BTreeMap::new();
    for (at, (file, module)) in &all.modules {
        for (path, target) in all.targets(at, module) {
            let to = all.modules[&target].0.clone();
            if to != *file {
                found.entry((file.clone(), to.clone())).or_insert(Arrow {
                    from: file.clone(),
                    to,
                    line: path.line,
                    name: path.segments.join("::"),
                });
            }
        }
    }
    found.into_values().collect()
}

impl Crate {
    fn of(files: &Files, root: &str) -> Self {
        let mut all = Self::default();
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        all.load(files, root, folder, &ModulePath::new());
        all
    }

    /// Adds a file's modules; its children lie in `folder`.
    fn load(&mut self, files: &Files, file: &str, folder: &str, at: &ModulePath) {
        for module in source::modules(files.get(file).map_or("", String::as_str)) {
            let at = [at.as_slice(), &module.path].concat();
            let folder = [&[folder.to_owned()], module.path.as_slice()].concat().join("/");
            for child in &module.children {
                let inside = format!("{folder}/{child}");
                let file = [format!("{inside}.rs"), format!("{inside}/mod.rs")]
                    .into_iter()
                    .find(|file| files.contains_key(file));
                if let Some(file) = file {
                    self.load(files, &file, &inside, &below(&at, child));
                }
            }
            self.modules.insert(at, (file.to_owned(), module));
        }
    }

    /// The modules that one uses, each with the path in the source.
    fn targets<'a>(&self, at: &ModulePath, module: &'a Module) -> Vec<(&'a Path, ModulePath)> {
        let mut found = Vec::new();
        for import in &module.imports {
            if let Some(target) = self.resolve(at, &import.path.segments, &mut BTreeSet::new()) {
                // A name that a parent offers of its child and does not use itself.
                let offered = import.public && target.starts_with(at) && !module.names.contains(&import.name);
                if !offered {
                    found.push((&import.path, target));
                }
            }
        }
        for path in &module.paths {
            found.extend(
                self.resolve(at, &path.segments, &mut BTreeSet::new())
                    .map(|target| (path, target)),
            );
        }
        for path in &module.invocations {
            found.extend(
                self.macro_above(at, &path.segments[0])
                    .map(|target| (path, target)),
            );
        }
        found
    }

    /// The module around this one that defines a macro, unless this one imports the name.
    fn macro_above(&self, at: &ModulePath, name: &str) -> Option<ModulePath> {
        let module = &self.modules[at].1;
        if module.imports.iter().any(|import| import.name == name) {
            return None;
        }
        (0..at.len())
            .rev()
            .map(|length| at[..length].to_vec())
            .find(|above| self.modules[above].1.items.contains(&format!("{name}!")))
    }

    /// The module that defines what a path in a module means; `None` if no file of the crate does.
    fn resolve(
        &self,
        at: &ModulePath,
        segments: &[String],
        seen: &mut BTreeSet<(ModulePath, String)>,
    ) -> Option<ModulePath> {
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" => self.descend(&Vec::new(), rest, seen),
            "self" => self.descend(at, rest, seen),
            "super" => self.above(at, rest, seen),
            "*" => Some(at.clone()),
            name if self.modules.contains_key(&below(at, name)) => self.descend(at, segments, seen),
            name => {
                let import = self.import(at, name)?;
                if !seen.insert((at.clone(), name.to_owned())) {
                    return None;
                }
                self.resolve(at, &[&import.path.segments, rest].concat(), seen)
            }
        }
    }

    fn above(
        &self,
        at: &ModulePath,
        rest: &[String],
        seen: &mut BTreeSet<(ModulePath, String)>,
    ) -> Option<ModulePath> {
        let parent = at.split_last()?.1.to_vec();
        match rest.split_first() {
            Some((next, rest)) if next == "super" => self.above(&parent, rest, seen),
            _ => self.descend(&parent, rest, seen),
        }
    }

    /// Follows names from a module down, and through what it offers of others.
    fn descend(
        &self,
        from: &ModulePath,
        names: &[String],
        seen: &mut BTreeSet<(ModulePath, String)>,
    ) -> Option<ModulePath> {
        let Some((name, rest)) = names.split_first() else {
            return Some(from.clone());
        };
        let child = below(from, name);
        if self.modules.contains_key(&child) {
            return self.descend(&child, rest, seen);
        }
        let module = &self.modules.get(from)?.1;
        if name == "*" || module.items.contains(name) || !seen.insert((from.clone(), name.clone())) {
            return Some(from.clone());
        }
        if let Some(import) = self.import(from, name) {
            return if import.public {
                self.resolve(from, &[&import.path.segments, rest].concat(), seen)
            } else {
                Some(from.clone())
            };
        }
        let offered = module
            .imports
            .iter()
            .filter(|import| import.public && import.name == "*");
        for import in offered {
            let target = self.resolve(from, &import.path.segments, seen)?;
            if self.modules[&target].1.items.contains(name) || self.import(&target, name).is_some() {
                return self.descend(&target, names, seen);
            }
        }
        Some(from.clone())
    }

    fn import(&self, at: &ModulePath, name: &str) -> Option<&Import> {
        let module = &self.modules.get(at)?.1;
        module.imports.iter().find(|import| import.name == name)
    }
}

fn below(at: &ModulePath, name: &str) -> ModulePath {
    [at.as_slice(), &[name.to_owned()]].concat()
}

/// The circles of a graph: the arrows of each set of files that all reach each other.
pub(super) fn circles(arrows: &[Arrow]) -> Vec<Vec<Arrow>> {
    let mut reach: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for start in arrows.iter().map(|arrow| arrow.from.as_str()) {
        let (mut found, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(file) = open.pop() {
            let next = arrows
                .iter()
                .filter(|arrow| arrow.from == file)
                .map(|arrow| arrow.to.as_str());
            open.extend(next.filter(|file| found.insert(*file)));
        }
        reach.insert(start, found);
    }
    let reaches = |from: &str, to: &str| reach.get(from).is_some_and(|found| found.contains(to));
    let mut circles: BTreeMap<Vec<&str>, Vec<Arrow>> = BTreeMap::new();
    for arrow in arrows.iter().filter(|arrow| reaches(&arrow.to, &arrow.from)) {
        let files = reach
            .keys()
            .copied()
            .filter(|file| reaches(file, &arrow.from) && reaches(&arrow.from, file))
            .collect();
        circles.entry(files).or_default().push(arrow.clone());
    }
    circles.into_values().collect()
}
