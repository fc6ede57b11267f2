//! The order of the modules: which of them may know which others. `docs/internals.md` gives the reasons.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Each module of the crate's root and the modules it may use, which stand above it: so there are no cycles.
#[rustfmt::skip] // A table.
const LAYERS: &[(&str, &[&str])] = &[
    ("semantics", &[]),
    ("config",    &[]),
    ("certificate", &[]),
    ("files",     &[]),
    ("log",       &["semantics", "files"]),
    ("lock",      &[]),
    ("scoreboard", &["semantics", "files", "lock"]),
    ("disk",      &[]),
    ("share",     &[]),
    ("pace",      &[]),
    ("spool",     &["semantics", "disk", "share"]),
    ("body",      &["share"]),
    ("documents", &["semantics", "log", "disk", "body"]),
    ("site",      &["scoreboard", "semantics", "body", "documents"]),
    ("net",       &["semantics", "files", "log", "disk"]),
    ("channel",   &["semantics", "log"]),
    ("process",   &["files", "lock", "scoreboard", "channel"]),
    ("dispatch",  &["scoreboard", "semantics", "log", "disk", "share", "pace", "spool", "body", "channel"]),
    ("http",      &["scoreboard", "semantics", "log", "share", "pace", "spool", "body", "documents", "site", "net", "channel", "dispatch"]),
    ("worker",    &["scoreboard", "semantics", "channel", "process"]),
    ("core",      &["scoreboard", "semantics", "log", "spool", "site", "net", "channel", "process", "dispatch", "http"]),
    ("server",    &["files", "lock", "scoreboard", "config", "log", "documents", "site", "spool", "net", "channel", "process", "dispatch", "http", "worker", "core"]),
    ("perl",      &[]),
    ("psgi",      &["semantics", "certificate", "log", "channel", "worker", "perl"]),
    ("xs",        &["perl"]),
    ("entry",     &["semantics", "scoreboard", "config", "channel", "process", "worker", "server", "perl", "psgi", "xs"]),
];

/// What is against the table today, file by file. To be made shorter, never longer.
#[rustfmt::skip] // A table.
const OWED: &[(&str, &str)] = &[
];

/// A crate, and the only places that may name it.
const CONFINED: &[(&str, &[&str])] = &[
    ("perl_sys", &["perl/", "psgi/", "xs.rs"]),
    (
        "tokio",
        &[
            "net/",
            "http/",
            "site/",
            "disk.rs",
            "documents/",
            "log/sink.rs",
            "dispatch/",
            "channel/core_end.rs",
            "core.rs",
            "core/",
        ],
    ),
];

#[test]
fn the_table_is_in_the_order_of_the_layers() {
    for (at, (module, allowed)) in LAYERS.iter().enumerate() {
        for used in *allowed {
            assert!(
                LAYERS[..at].iter().any(|(above, _)| above == used),
                "{used} does not stand above {module}"
            );
        }
    }
}

#[test]
fn every_module_has_its_place() {
    let found: BTreeSet<_> = sources()
        .unwrap()
        .into_iter()
        .map(|source| source.module)
        .filter(|module| !module.is_empty())
        .collect();
    let placed: BTreeSet<_> = LAYERS
        .iter()
        .map(|(module, _)| module.to_string())
        .collect();
    assert_eq!(found, placed, "found on the left, placed on the right");
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for source in sources()
        .unwrap()
        .iter()
        .filter(|source| !source.module.is_empty())
    {
        let (_, allowed) = LAYERS
            .iter()
            .find(|(module, _)| *module == source.module)
            .unwrap();
        for used in source.uses() {
            let edge = (source.name.as_str(), used.as_str());
            if OWED.contains(&edge) {
                seen.insert((source.name.clone(), used));
            } else if used != source.module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: {} -> {used}", source.name, source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "not allowed by LAYERS: {wrong:#?}");
    assert_eq!(
        seen.len(),
        OWED.len(),
        "paid and to be taken off OWED: all but {seen:?}"
    );
}

/// Protects: what needs no libperl builds without it, and what runs in the master or a worker has no event loop.
#[test]
fn foreign_crates_stay_where_they_belong() {
    for source in sources().unwrap() {
        for (name, places) in CONFINED {
            let named = source.code.lines().any(|line| has_word(line, name));
            let may = places.iter().any(|place| source.name.starts_with(place));
            assert!(may || !named, "{} names {name}", source.name);
        }
    }
}

#[test]
fn uses_are_found_in_every_spelling() {
    let source = Source::of(
        "net/accept.rs",
        "// use crate::comment;\n\
         use crate::semantics::message::{Request, Version};\n\
         use crate::{config, log as lines,\n    channel::{self, frame}, r#core};\n\
         fn f() { crate :: http::g(); super::super::worker::h(); super::listen::i(); notcrate::x(); }\n\
         #[cfg(feature = \"perl\")]\nuse crate::perl;\n\
         #[cfg(test)]\nmod tests { use crate::server; }\n",
    );
    let found = source.uses();
    let found: Vec<_> = found.iter().map(String::as_str).collect();
    assert_eq!(
        found,
        [
            "channel",
            "config",
            "core",
            "http",
            "log",
            "perl",
            "semantics",
            "worker"
        ]
    );
}

/// A file of the crate, without its tests.
struct Source {
    /// Path below `src`.
    name: String,
    /// The crate's module it belongs to; empty for the crate's roots.
    module: String,
    /// How many modules deep its own is.
    depth: usize,
    /// Its text without comments and tests.
    code: String,
}

impl Source {
    fn of(name: &str, text: &str) -> Self {
        let path: Vec<_> = name
            .trim_end_matches(".rs")
            .split('/')
            .filter(|part| !matches!(*part, "mod" | "lib" | "main"))
            .collect();
        // By the house's rule tests end a file.
        let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
        let code = text[..end]
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        Source {
            name: name.to_owned(),
            module: path.first().copied().unwrap_or_default().to_owned(),
            depth: path.len(),
            code,
        }
    }

    /// The modules of the crate's root that it names.
    fn uses(&self) -> BTreeSet<String> {
        let tokens = tokens(&self.code);
        let mut used = BTreeSet::new();
        let mut at = 0;
        while at < tokens.len() {
            let mut root = at + 1;
            let from_root = match tokens[at] {
                "crate" => true,
                "super" => {
                    let mut supers = 1;
                    while tokens[root..].starts_with(&["::", "super"]) {
                        supers += 1;
                        root += 2;
                    }
                    supers == self.depth
                }
                _ => false,
            };
            if from_root && tokens.get(root) == Some(&"::") {
                used.extend(first_names(&tokens[root + 1..]));
            }
            at = root;
        }
        used
    }
}

/// The first names of a path, or of each path in the braces that stand there.
fn first_names(tokens: &[&str]) -> Vec<String> {
    if tokens.first() != Some(&"{") {
        return tokens.first().iter().map(|name| name.to_string()).collect();
    }
    let mut names = Vec::new();
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            name if depth == 1 && matches!(tokens[at - 1], "{" | ",") => {
                names.push(name.to_owned())
            }
            _ => {}
        }
    }
    names
}

/// Names (raw ones as the plain ones), `::`, and all else byte by byte.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = rest.strip_prefix("r#").unwrap_or(rest);
        let name = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        let length = match name {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            name => name,
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c| !is_name(c)).any(|found| found == word)
}

fn sources() -> io::Result<Vec<Source>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files
        .iter()
        .map(|file| {
            let name = file.strip_prefix(&root).unwrap_or(file).to_string_lossy();
            Ok(Source::of(&name, &fs::read_to_string(file)?))
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            files.push(path);
        }
    }
    Ok(())
}
