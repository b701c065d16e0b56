//! The modules of one source file, with their imports, paths and names.
//!
//! Reads as much of Rust as this repository writes: no `#[path]`. Modules that only tests compile are left out.

use crate::literals;
use std::collections::BTreeSet;

/// A module: a file, or a block `mod name { … }` in it.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Names from the file's own module down to this one; empty for the file's own.
    pub(super) path: Vec<String>,
    /// Child modules in files of their own.
    pub(super) children: Vec<String>,
    pub(super) imports: Vec<Import>,
    /// Paths in code: `crate::a::b` or `a::b`.
    pub(super) paths: Vec<Path>,
    /// Macros invoked by their bare name.
    pub(super) invocations: Vec<Path>,
    /// Defined items; macros also as `name!`.
    pub(super) items: BTreeSet<String>,
    /// Bare names in code.
    pub(super) names: BTreeSet<String>,
    /// Functions in an `impl` block without a trait, as type and name.
    pub(super) methods: BTreeSet<(String, String)>,
    /// Method calls on a bare name, as that name and the method: `self.a()`.
    pub(super) calls: Vec<Path>,
}

/// One name of a `use` declaration.
#[derive(Debug)]
pub(super) struct Import {
    /// The name in this module; `*` for all names.
    pub(super) name: String,
    /// Other modules may use it: `pub use`.
    pub(super) public: bool,
    pub(super) path: Path,
}

#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
}

/// Words that a definition follows.
const ITEMS: [&str; 9] = [
    "fn",
    "struct",
    "enum",
    "trait",
    "type",
    "const",
    "static",
    "union",
    "macro_rules",
];

/// The modules of a file, its own first.
pub(super) fn modules(source: &str) -> Vec<Module> {
    let mut parser = Parser {
        tokens: tokens(source),
        at: 0,
        depth: 0,
        open: vec![(0, 0)],
        modules: vec![Module::default()],
        implemented: None,
    };
    parser.file();
    parser.modules
}

struct Token {
    line: usize,
    text: String,
}

/// Names, `::` and single characters, without comments and literals.
fn tokens(source: &str) -> Vec<Token> {
    let (mut found, mut line, mut rest) = (Vec::new(), 1, source);
    while let Some(c) = rest.chars().next() {
        let word = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let raw = rest.strip_prefix('b').unwrap_or(rest);
        let raw = raw
            .starts_with('r')
            .then(|| literals::raw_string(raw, ""))
            .flatten()
            .map(|(_, _, length)| rest.len() - raw.len() + length);
        let (length, token) = match c {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), None),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |end| end + 2), None),
            '"' => {
                let length = literals::string(rest);
                let text = &rest[1..length.max(2) - 1];
                // A path in an attribute: `deserialize_with = "crate::bounds::limit"`.
                if text.starts_with("crate::") || text.starts_with("super::") {
                    found.extend(tokens(text).into_iter().map(|token| Token { line, ..token }));
                }
                (length, None)
            }
            '\'' => (literals::character(rest), None),
            ':' if rest.starts_with("::") => (2, Some("::")),
            _ if raw.is_some() => (raw.unwrap_or_default(), None),
            _ if word > 0 => (word, Some(&rest[..word])),
            _ if c.is_whitespace() => (c.len_utf8(), None),
            _ => (c.len_utf8(), Some(&rest[..c.len_utf8()])),
        };
        found.extend(token.map(|text| Token {
            line,
            text: text.to_owned(),
        }));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    /// Open braces.
    depth: usize,
    /// Modules around this place: index, and the depth of their content.
    open: Vec<(usize, usize)>,
    modules: Vec<Module>,
    /// The type of the `impl` block around this place, and the depth of its content.
    implemented: Option<(String, usize)>,
}

impl Parser {
    /// The token so many places after this one; empty outside the file.
    fn peek(&self, offset: isize) -> &str {
        self.at
            .checked_add_signed(offset)
            .and_then(|at| self.tokens.get(at))
            .map_or("", |token| &token.text)
    }

    fn module(&mut self) -> &mut Module {
        let index = self.open.last().map_or(0, |(index, _)| *index);
        &mut self.modules[index]
    }

    fn file(&mut self) {
        while self.at < self.tokens.len() {
            match self.peek(0) {
                "#" if self.is_test_only() => self.skip_item(),
                "{" => self.depth += 1,
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    self.implemented = self.implemented.take().filter(|(_, depth)| *depth <= self.depth);
                    let closed = self.open.last().is_some_and(|(_, depth)| *depth > self.depth);
                    if closed && self.open.len() > 1 {
                        self.open.pop();
                    }
                }
                "mod" if is_name(self.peek(1)) => self.child(),
                "use" if self.peek(1) != "<" && self.peek(-1) != "." => self.import(),
                "impl" if matches!(self.peek(-1), "" | "{" | "}" | ";" | "]") => self.implementation(),
                word if is_name(word) => self.word(),
                _ => {}
            }
            self.at += 1;
        }
    }

    /// The head of an `impl` block; the type counts unless the block has a trait or parameters.
    fn implementation(&mut self) {
        if is_name(self.peek(1)) && self.peek(2) == "{" {
            self.implemented = Some((self.peek(1).to_owned(), self.depth + 1));
        }
    }

    /// `#[cfg(test)]` or `#[cfg(all(test, …))]` is here.
    fn is_test_only(&self) -> bool {
        let start: Vec<&str> = (1..8).map(|offset| self.peek(offset)).collect();
        matches!(
            start[..],
            ["[", "cfg", "(", "test", ")", ..] | ["[", "cfg", "(", "all", "(", "test", ..]
        )
    }

    /// Goes to the end of the item after the attribute here.
    fn skip_item(&mut self) {
        let mut nested = 0_usize;
        while self.at < self.tokens.len() {
            match self.peek(0) {
                "{" | "(" | "[" => nested += 1,
                ")" | "]" => nested = nested.saturating_sub(1),
                "}" => {
                    nested = nested.saturating_sub(1);
                    if nested == 0 {
                        return;
                    }
                }
                ";" if nested == 0 => return,
                _ => {}
            }
            self.at += 1;
        }
    }

    fn child(&mut self) {
        let name = self.peek(1).to_owned();
        self.at += 2;
        if self.peek(0) == ";" {
            self.module().children.push(name);
        } else if self.peek(0) == "{" {
            let mut path = self.module().path.clone();
            path.push(name);
            self.depth += 1;
            self.open.push((self.modules.len(), self.depth));
            self.modules.push(Module {
                path,
                ..Module::default()
            });
        }
    }

    fn import(&mut self) {
        let mut before = -1;
        if self.peek(-1) == ")" {
            while !matches!(self.peek(before), "(" | "") {
                before -= 1;
            }
            before -= 1;
        }
        let public = self.peek(before) == "pub";
        self.at += 1;
        let mut found = Vec::new();
        self.tree(&[], &mut found);
        self.module().imports.extend(
            found
                .into_iter()
                .map(|(name, path)| Import { name, public, path }),
        );
    }

    /// One part of a `use` tree; ends at the `,`, `}` or `;` after it.
    fn tree(&mut self, prefix: &[String], found: &mut Vec<(String, Path)>) {
        let mut segments = prefix.to_vec();
        let mut name = None;
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        loop {
            match self.peek(0) {
                // A crate outside, also where a module has its name.
                "::" if segments.is_empty() => segments.push("::".to_owned()),
                "::" => {}
                "{" => {
                    while !matches!(self.peek(0), "}" | ";" | "") {
                        self.at += 1;
                        self.tree(&segments, found);
                    }
                    self.at += 1;
                    return;
                }
                "as" => {
                    name = Some(self.peek(1).to_owned());
                    self.at += 1;
                }
                "self" if !segments.is_empty() => {}
                "," | "}" | ";" | "" => break,
                segment => segments.push(segment.to_owned()),
            }
            self.at += 1;
        }
        if segments.len() > prefix.len() || self.peek(-1) == "self" || name.is_some() {
            let name = name.or_else(|| segments.last().cloned()).unwrap_or_default();
            found.push((name, Path { line, segments }));
        }
    }

    fn word(&mut self) {
        let word = self.peek(0).to_owned();
        let before = self.peek(-1).to_owned();
        let line = self.tokens[self.at].line;
        if ITEMS.contains(&word.as_str()) {
            let macros = word == "macro_rules";
            let offset = if macros { 2 } else { 1 };
            let name = self.peek(offset).to_owned();
            let inside = self.open.last().map_or(0, |(_, depth)| *depth);
            // `const` also precedes `fn` and `unsafe`.
            if is_name(&name) && word != "const" || name.chars().all(|c| !c.is_lowercase()) {
                self.at += offset.unsigned_abs();
                let implemented = self.implemented.clone();
                if let Some((of, _)) = implemented.filter(|(_, depth)| word == "fn" && *depth == self.depth) {
                    self.module().methods.insert((of, name.clone()));
                }
                if self.depth == inside {
                    let module = self.module();
                    module.items.extend(macros.then(|| format!("{name}!")));
                    module.items.insert(name);
                }
            }
            return;
        }
        let on = self.peek(-2).to_owned();
        if before == "." && is_name(&on) && self.peek(-3) != "." && matches!(self.peek(1), "(" | "::") {
            let segments = vec![on, word];
            self.module().calls.push(Path { line, segments });
            return;
        }
        if before == "." || before == "::" || (before == "$" && word != "crate") {
            return;
        }
        let mut segments = vec![word.clone()];
        while self.peek(1) == "::" && is_name(self.peek(2)) {
            segments.push(self.peek(2).to_owned());
            self.at += 2;
        }
        let path = Path { line, segments };
        if path.segments.len() > 1 {
            self.module().paths.push(path);
        } else if self.peek(1) == "!" && self.peek(2) != "=" {
            self.module().invocations.push(path);
        } else if self.peek(1) != ":" {
            self.module().names.insert(word);
        }
    }
}
