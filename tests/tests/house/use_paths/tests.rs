use super::{
    graph::{Files, arrows, circles},
    roots,
    source::{Module, modules},
    wings::Wings,
};

/// The imports of a module as `name = path`, those offered to others with `+`.
fn imports(module: &Module) -> Vec<String> {
    let text = |import: &super::source::Import| {
        let offered = if import.public { "+" } else { "" };
        format!("{offered}{} = {}", import.name, import.path.segments.join("::"))
    };
    module.imports.iter().map(text).collect()
}

fn paths(module: &Module) -> Vec<String> {
    module.paths.iter().map(|path| path.segments.join("::")).collect()
}

fn files(sources: &[(&str, &str)]) -> Files {
    sources
        .iter()
        .map(|(path, text)| (format!("src/{path}"), (*text).to_owned()))
        .collect()
}

/// The arrows of a crate as `from -> to`, without extension.
fn drawn(sources: &[(&str, &str)]) -> Vec<String> {
    let name = |file: &str| file.trim_start_matches("src/").trim_end_matches(".rs").to_owned();
    arrows(&files(sources), "src/lib.rs")
        .iter()
        .map(|arrow| format!("{} -> {}", name(&arrow.from), name(&arrow.to)))
        .collect()
}

#[test]
fn a_nested_use_tree_is_one_path_for_each_name() {
    let source = "use a::{self, b::{C, D as E}, f::*, g};\npub(crate) use super::{super::x, y};\npub use z;";
    assert_eq!(
        imports(&modules(source)[0]),
        [
            "a = a",
            "C = a::b::C",
            "E = a::b::D",
            "* = a::f::*",
            "g = a::g",
            "+x = super::super::x",
            "+y = super::y",
            "+z = z"
        ]
    );
}

#[test]
fn code_has_paths_and_comments_literals_and_tests_have_none() {
    let source = r##"
// crate::comment::X
/* crate::block::X */
#[serde(default = "crate::attribute::x")]
struct A<'a>(&'a str, char);
fn a() -> impl Iterator<Item = crate::b::C> + use<> {
    let _ = ('"', "text", r#"crate::raw::X"#, b"bytes");
    ::std::mem::drop(d::<u8>::e(x.f::<self::G>()));
    h!(super::i::J)
}
macro_rules! k { ($name:ident) => { $crate::l::M; $name::n } }
#[cfg(test)]
use crate::only::tests;
#[cfg(test)]
mod tests { use crate::o::P; }
mod q { use super::r; fn s() { t::u() } }
const V: w::X = 1;
"##;
    let found = modules(source);
    assert_eq!(
        paths(&found[0]),
        [
            "crate::attribute::x",
            "crate::b::C",
            "self::G",
            "super::i::J",
            "crate::l::M",
            "w::X"
        ]
    );
    assert!(
        found[0].items.iter().eq(["A", "V", "a", "k", "k!"]),
        "{:?}",
        found[0].items
    );
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[1].path.concat(), imports(&found[1])),
        ("q".into(), vec!["r = super::r".into()])
    );
    assert_eq!(paths(&found[1]), ["t::u"]);
}

#[test]
fn a_name_of_a_parent_is_an_arrow_to_the_file_that_defines_it() {
    let parent = "mod a; mod b; mod folder;\npub use a::Shared; pub use folder::*; pub(crate) use b::c as d;";
    let crate_with = |user: &str| {
        drawn(&[
            ("lib.rs", parent),
            ("a.rs", "pub struct Shared;"),
            ("b.rs", "pub fn c() {}"),
            (
                "folder/mod.rs",
                "mod inner; mod user; pub use inner::Deep; pub struct Here;",
            ),
            ("folder/inner.rs", "pub enum Deep {}"),
            ("folder/user.rs", user),
        ])
    };
    assert_eq!(crate_with("use crate::Shared;"), ["folder/user -> a"]);
    assert_eq!(
        crate_with("fn x() { crate::Shared::new() }"),
        ["folder/user -> a"]
    );
    assert_eq!(crate_with("use crate::d;"), ["folder/user -> b"]);
    assert_eq!(crate_with("use crate::Deep;"), ["folder/user -> folder/inner"]);
    assert_eq!(
        crate_with("use super::Deep as Other;"),
        ["folder/user -> folder/inner"]
    );
    assert_eq!(crate_with("use super::Here;"), ["folder/user -> folder/mod"]);
    assert_eq!(crate_with("use crate::folder; fn x() { folder::Deep }").len(), 2);
    assert_eq!(
        crate_with("use std::fmt; use other::Shared; fn x() { fmt::y() }"),
        [""; 0]
    );
}

#[test]
fn a_parent_that_uses_a_name_of_its_child_has_an_arrow_to_it() {
    let crate_with = |parent: &str| drawn(&[("lib.rs", parent), ("a.rs", "pub struct A; pub fn f() {}")]);
    assert_eq!(crate_with("mod a; pub use a::A;"), [""; 0]);
    assert_eq!(crate_with("mod a; pub use a::A; fn x(_: A) {}"), ["lib -> a"]);
    assert_eq!(crate_with("mod a; use a::A;"), ["lib -> a"]);
    assert_eq!(crate_with("mod a; fn x() { a::f() }"), ["lib -> a"]);
}

#[test]
fn a_macro_of_a_parent_is_an_arrow_to_it() {
    let parent = "macro_rules! own { () => {} }\nmod a;";
    assert_eq!(
        drawn(&[("lib.rs", parent), ("a.rs", "own!(); println!();")]),
        ["a -> lib"]
    );
}

#[test]
fn a_circle_is_reported_with_its_arrows_only() {
    let found = circles(&arrows(
        &files(&[
            ("lib.rs", "mod a; mod b; mod c; mod d;\nfn x() { a::x() }"),
            ("a.rs", "use crate::b::y;"),
            ("b.rs", "fn y() {}\nuse crate::c;"),
            ("c.rs", "fn z() { crate::a::x(crate::d::X) }"),
            ("d.rs", "#[cfg(test)]\nmod tests { use crate::a; }"),
        ]),
        "src/lib.rs",
    ));
    let text: Vec<String> = found
        .concat()
        .iter()
        .map(|arrow| format!("{}:{} -> {} ({})", arrow.from, arrow.line, arrow.to, arrow.name))
        .collect();
    assert_eq!(
        text,
        [
            "src/a.rs:1 -> src/b.rs (crate::b::y)",
            "src/b.rs:2 -> src/c.rs (crate::c)",
            "src/c.rs:1 -> src/a.rs (crate::a::x)"
        ]
    );
    assert_eq!(found.len(), 1);
}

#[test]
fn files_in_layers_have_no_circle() {
    let sources = files(&[
        ("lib.rs", "mod a; mod b; pub use a::A; fn x() { b::y(A) }"),
        ("a.rs", "pub struct A;"),
        ("b.rs", "use crate::A; mod child; pub use child::C;"),
        ("b/child.rs", "use super::super::a::A; pub struct C;"),
    ]);
    let found = arrows(&sources, "src/lib.rs");
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(circles(&found).is_empty());
}

#[test]
fn each_program_of_a_crate_is_a_crate() {
    let sources: Files = [
        "x/src/lib.rs",
        "x/src/part/lib.rs",
        "x/src/bin/one.rs",
        "x/src/bin/two/main.rs",
        "x/src/bin/two/part.rs",
        "y/src/lib.rs",
    ]
    .map(|file| (file.to_owned(), String::new()))
    .into();
    assert_eq!(
        roots("x", &sources),
        ["x/src/bin/one.rs", "x/src/bin/two/main.rs", "x/src/lib.rs"]
    );
}

/// A crate with the wings `top` and `low`, whose object is defined above both. Each source is added to its file.
fn upward(added: &[(&str, &str)]) -> Vec<String> {
    let mut all = files(&[
        (
            "lib.rs",
            "mod base; mod low; mod object; mod top; pub use object::Object;",
        ),
        (
            "object.rs",
            "use crate::{low::Cache, top::Entry}; pub struct Object(Cache, Entry); impl Object { fn stop(&self) {} }",
        ),
        ("base.rs", "pub struct Error;"),
        ("low/mod.rs", "mod read; pub struct Cache;"),
        (
            "low/read.rs",
            "use crate::{Object, base::Error}; impl Object { fn read(&self) { self.stop(); self.read(); } }",
        ),
        ("top/mod.rs", "mod show; pub struct Entry;"),
        (
            "top/show.rs",
            "use crate::{Object, low::Cache}; impl Object { fn show(&self) { self.read(); Self::read(self); } }",
        ),
    ]);
    for (file, text) in added {
        let file = all.get_mut(&format!("src/{file}")).expect("a file");
        file.push('\n');
        file.push_str(text);
    }
    let wings = Wings {
        root: "src/lib.rs",
        folders: &["top", "low"],
        above: &["object.rs"],
        object: ("Object", &["self", "this"]),
    };
    wings.violations(&all)
}

#[test]
fn wings_may_use_themselves_and_lower_ones() {
    assert_eq!(upward(&[]), Vec::<String>::new());
    let unrelated = "struct Other; impl Other { fn show(&self) {} }\nfn f(other: Other) { other.show(); crate::x::show(); }";
    assert_eq!(
        upward(&[("low/read.rs", unrelated)]),
        Vec::<String>::new(),
        "a method of another type"
    );
    let of_tests = "#[cfg(test)] mod tests { use crate::top::Entry; fn f(this: Object) { this.show(); } }";
    assert_eq!(
        upward(&[("low/read.rs", of_tests)]),
        Vec::<String>::new(),
        "tests"
    );
}

#[test]
fn a_use_of_a_higher_wing_is_reported() {
    assert_eq!(
        upward(&[("low/read.rs", "use crate::top::Entry;")]),
        ["src/low/read.rs:2 uses src/top/mod.rs (crate::top::Entry)"]
    );
    assert_eq!(
        upward(&[("base.rs", "fn f() -> crate::low::Cache { todo!() }")]),
        ["src/base.rs:2 uses src/low/mod.rs (crate::low::Cache)"],
        "files beside the root are below all wings"
    );
}

#[test]
fn a_call_of_a_method_of_a_higher_wing_is_reported() {
    for call in [
        "self.show()",
        "this.show::<u8>()",
        "Self::show(self)",
        "Object::show(self)",
    ] {
        let source = format!("impl Object {{ fn more(&self) {{ {call}; }} }}");
        assert_eq!(
            upward(&[("low/read.rs", source.as_str())]),
            ["src/low/read.rs:2 calls show of src/top/show.rs"],
            "{call}"
        );
    }
}
