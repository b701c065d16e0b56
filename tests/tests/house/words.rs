//! Texts use the field's words: `words.txt` lists private ones, each with what to write instead.

use crate::{files, literals, root};
use anyhow::{Context, Result, ensure};
use regex::{Regex, RegexBuilder};
use std::{fs, path::Path};

const LIST: &str = include_str!("words.txt");
/// What holds the words that it forbids, or text that is not ours.
const EXEMPT: [&str; 4] = ["tests/tests/house/", "LICENSE", "/snapshots/", "/recorded/"];

/// A pattern, what to write instead, and contexts in which it means something else.
struct Rule {
    pattern: Regex,
    instead: String,
}

/// One piece of text: its line, and the text.
type Piece = (usize, String);

/// Lines of `words.txt`: `PATTERN<tab>INSTEAD`; `!PATTERN` is text that no rule applies to.
fn rules() -> Result<(Vec<Rule>, Vec<Regex>)> {
    let pattern = |text: &str| RegexBuilder::new(text).case_insensitive(true).build();
    let (mut rules, mut allowed) = (Vec::new(), Vec::new());
    for line in LIST
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(text) = line.strip_prefix('!') {
            allowed.push(pattern(text)?);
        } else {
            let (text, instead) = line
                .split_once('\t')
                .with_context(|| format!("no replacement in {line:?}"))?;
            rules.push(Rule {
                pattern: pattern(text)?,
                instead: instead.to_owned(),
            });
        }
    }
    Ok((rules, allowed))
}

/// The comments and string literals of Rust source, and the names of its items in words.
fn of_rust(source: &str) -> Vec<Piece> {
    let item = Regex::new(r"\b(?:fn|struct|enum|trait|mod|type|const|static) +([A-Za-z][A-Za-z0-9_]*)")
        .expect("a valid pattern");
    let (mut pieces, mut line) = (Vec::new(), 1);
    let (mut rest, mut code) = (source, String::new());
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '/' if rest.starts_with("//") => {
                let end = rest.find('\n').unwrap_or(rest.len());
                pieces.push((line, rest[..end].trim_start_matches(['/', '!', ' ']).to_owned()));
                end
            }
            'r' if literals::raw_string(rest, &code).is_some() => {
                let (start, end, length) = literals::raw_string(rest, &code).expect("tested above");
                pieces.push((line, rest[start..end].to_owned()));
                length
            }
            '"' => {
                let length = literals::string(rest);
                pieces.push((line, rest[1..length.max(2) - 1].to_owned()));
                length
            }
            '\'' => literals::character(rest),
            _ => {
                code.push(c);
                c.len_utf8()
            }
        };
        line += rest[..taken].matches('\n').count();
        rest = &rest[taken..];
        if c == '\n' {
            pieces.extend(
                item.captures_iter(&code)
                    .map(|found| (line - 1, in_words(&found[1]))),
            );
            code.clear();
        }
    }
    pieces
}

/// `release_wipes` and `ReleaseWipes` as words.
fn in_words(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && words.ends_with(char::is_lowercase) {
            words.push(' ');
        }
        words.push(if c == '_' { ' ' } else { c });
    }
    words
}

fn pieces(path: &str, text: &str) -> Vec<Piece> {
    if Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "rs")
    {
        return of_rust(text);
    }
    let marks = |c: char| c.is_whitespace() || "#|*->/<!\"".contains(c);
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim_matches(marks).to_owned()))
        .collect()
}

#[test]
fn texts_use_the_words_of_the_field() -> Result<()> {
    let (rules, allowed) = rules()?;
    let mut found = Vec::new();
    let patterns = [
        "*.rs",
        "*.md",
        "*.html",
        "*.sh",
        "*.js",
        "*.css",
        "*.toml",
        "*.conf",
        "*.py",
        "*.go",
        "*.java",
        "*.mjs",
        "*Makefile",
        "*Dockerfile",
    ];
    for path in files(&patterns)?
        .into_iter()
        .filter(|path| !EXEMPT.iter().any(|exempt| path.contains(exempt)))
    {
        let text = fs::read_to_string(root().join(&path))?;
        for (line, piece) in pieces(&path, &text) {
            let piece = allowed.iter().fold(piece, |piece, allowed| {
                allowed.replace_all(&piece, "").into_owned()
            });
            for rule in &rules {
                if let Some(hit) = rule.pattern.find(&piece) {
                    let context: String = piece.chars().take(120).collect();
                    found.push(format!(
                        "{path}:{line}: {:?}, write {}: {context}",
                        hit.as_str(),
                        rule.instead
                    ));
                }
            }
        }
    }
    ensure!(
        found.is_empty(),
        "{} private words (tests/tests/house/words.txt):\n{}",
        found.len(),
        found.join("\n")
    );
    Ok(())
}

#[test]
fn comments_strings_and_names_are_texts_and_code_is_not() {
    let source = "/// Looks at it.\nfn told_by(look: &str) { let a = '\"'; say(\"it \\\"mends\\\"\", r#\"raw \"tap\"\"#); } // yard\n";
    let found: Vec<String> = of_rust(source).into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        found,
        [
            "Looks at it.",
            "it \\\"mends\\\"",
            "raw \"tap\"",
            "yard",
            "told by"
        ]
    );
}
