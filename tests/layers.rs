//! The order of the modules: which of them may know which others. `docs/internals.md` gives the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Each module of the crate's root and the modules it may use, which stand above it: so there are no cycles.
#[rustfmt::skip] // A table.
const LAYERS: &[(&str, &[&str])] = &[
    ("semantics", &[]),
    ("coding",    &[]),
    ("config",    &["semantics", "coding"]),
    ("certificate", &[]),
    ("files",     &[]),
    ("html",      &[]),
    ("log",       &["semantics", "files"]),
    ("lock",      &[]),
    ("iovec",     &[]),
    ("scoreboard", &["semantics", "files", "lock"]),
    ("disk",      &[]),
    ("share",     &[]),
    ("pace",      &[]),
    ("spool",     &["semantics", "disk", "share"]),
    ("body",      &["share"]),
    ("documents", &["semantics", "coding", "html", "log", "disk", "body"]),
    ("precompress", &["coding", "documents"]),
    ("lookup",    &["semantics", "log"]),
    ("metrics",   &["scoreboard", "semantics", "log"]),
    ("site",      &["scoreboard", "semantics", "html", "log", "metrics", "disk", "body", "documents", "lookup"]),
    ("net",       &["semantics", "files", "log", "iovec", "disk"]),
    ("channel",   &["semantics", "log", "iovec"]),
    ("process",   &["files", "lock", "scoreboard", "channel"]),
    ("dispatch",  &["scoreboard", "semantics", "log", "disk", "share", "pace", "spool", "body", "channel"]),
    ("http",      &["scoreboard", "semantics", "log", "iovec", "share", "pace", "spool", "body", "documents", "site", "net", "channel", "dispatch"]),
    ("worker",    &["scoreboard", "semantics", "coding", "channel", "process"]),
    ("core",      &["scoreboard", "semantics", "log", "disk", "spool", "site", "net", "channel", "process", "dispatch", "http"]),
    ("server",    &["semantics", "files", "lock", "scoreboard", "config", "log", "documents", "site", "spool", "net", "channel", "process", "dispatch", "http", "worker", "core"]),
    ("perl",      &[]),
    ("psgi",      &["semantics", "coding", "certificate", "log", "channel", "worker", "perl"]),
    ("xs",        &["perl"]),
    ("entry",     &["semantics", "scoreboard", "config", "precompress", "channel", "process", "worker", "server", "perl", "psgi", "xs"]),
];

/// What is against the table today, file by file. To be made shorter, never longer.
#[rustfmt::skip] // A table.
const OWED: &[(&str, &str)] = &[
];

/// Folders whose own files only put their modules together.
const STRICT: &[&str] = &[
    "channel/",
    "dispatch/",
    "entry/",
    "http/h1/",
    "http/h2/",
    "process/master/",
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
            "lookup/",
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

/// Protects: each folder can be read from its first module to its last: what two modules share stands in a third.
/// What a folder's `mod.rs` defines belongs to the folder and counts for none of its modules.
#[test]
fn modules_of_a_folder_import_each_other_in_one_direction() {
    for (folder, imports) in imports_by_folder(&sources().unwrap()) {
        assert_eq!(circles(&imports), BTreeSet::new(), "in {folder}/");
    }
}

/// Protects: a folder's own file puts its modules together. What two of them share stands in a third, not there; but a type may be
/// completed by the modules of what happens to it, as `Dispatch` is.
#[test]
fn modules_take_only_the_type_that_they_complete_from_their_folder() {
    let sources = sources().unwrap();
    let mut taken = items_of_folders(&sources);
    taken.retain(|(module, _)| {
        let strict = STRICT.iter().any(|folder| module.starts_with(folder));
        strict && !module.contains("/simulation/")
    });
    assert_eq!(taken, BTreeSet::new(), "module and item");
}

#[test]
fn circles_are_found_in_every_spelling() {
    let sources = [
        Source::of(
            "a/mod.rs",
            "mod b;\nmod c;\npub use self::{b::{Held as Kept, other}, c};",
        ),
        Source::of("a/b.rs", "use super::c::deep::{self, Thing};"),
        Source::of("a/c/mod.rs", "pub mod deep;\nuse crate::{x::y, x};"),
        Source::of("a/c/deep.rs", "fn f() { super::super::Kept::new() }"),
        Source::of("a/d.rs", "use super::other;"),
        Source::of("x.rs", "use crate::a::Kept;"),
    ];
    let folders = imports_by_folder(&sources);
    let of = |folder: &str| circles(&folders[folder]).into_iter().collect::<Vec<_>>();
    assert_eq!(of("a"), ["b -> c -> b"]);
    assert_eq!(of(""), ["a -> x -> a"]);
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
            "net",
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
    /// The path of its own module.
    path: Vec<String>,
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
        let text = without_tests(text);
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        Source {
            name: name.to_owned(),
            module: path.first().copied().unwrap_or_default().to_owned(),
            path: path.iter().map(|name| name.to_string()).collect(),
            code,
        }
    }

    /// The modules of the crate's root that it names.
    fn uses(&self) -> BTreeSet<String> {
        self.names()
            .into_iter()
            .filter_map(|name| name.path.into_iter().next())
            .collect()
    }

    /// The paths it names by way of `crate`, `super`, `self` or a module it declares, from the crate's root on.
    fn names(&self) -> Vec<Name> {
        let tokens = tokens(&self.code);
        let declares = |name| tokens.windows(3).any(|found| found == ["mod", name, ";"]);
        let mut names = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let start = at;
            let base = match tokens[at] {
                _ if start > 0 && tokens[start - 1] == "::" => None,
                "crate" => Some(0),
                "self" => Some(self.path.len()),
                "super" => {
                    let mut supers = 1;
                    while tokens[at + 1..].starts_with(&["::", "super"]) {
                        supers += 1;
                        at += 2;
                    }
                    self.path.len().checked_sub(supers)
                }
                _ => None,
            };
            at += 1;
            let (base, path) = match base {
                Some(base) if tokens.get(at) == Some(&"::") => (base, &tokens[at + 1..]),
                None if tokens.get(at) == Some(&"::") && declares(tokens[start]) => {
                    (self.path.len(), &tokens[start..])
                }
                _ => continue,
            };
            let imported = start > 0 && tokens[start - 1] == "use";
            read_paths(path, &self.path[..base], imported, &mut names);
        }
        names
    }
}

/// A file without modules for tests. By the house's rule one that stands in the file ends it.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("#[cfg(test)]\nmod ") {
        code.push_str(before);
        match after.split_once('\n') {
            Some((declaration, after)) if declaration.ends_with(';') => rest = after,
            _ => return code,
        }
    }
    code + rest
}

/// A path that a file names.
struct Name {
    path: Vec<String>,
    /// What a `use` calls it here.
    imported_as: Option<String>,
}

/// Reads a path that follows `base`, or each of the paths in its braces. How many tokens it took.
fn read_paths(tokens: &[&str], base: &[String], imported: bool, names: &mut Vec<Name>) -> usize {
    let mut path = base.to_vec();
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at += match tokens[at] {
                        "," => 1,
                        _ => read_paths(&tokens[at..], &path, imported, names).max(1),
                    };
                }
                return at + 1;
            }
            Some(&"self") => at += 1,
            Some(name) if name.starts_with(is_name) => {
                path.push(name.to_string());
                at += 1;
            }
            _ => at += 1, // All of a module.
        }
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    let mut imported_as = path.last().cloned();
    if tokens.get(at) == Some(&"as") {
        imported_as = tokens.get(at + 1).map(|name| name.to_string());
        at += 2;
    }
    let imported_as = imported_as.filter(|_| imported);
    names.push(Name { path, imported_as });
    at
}

/// For each folder the imports of its modules from each other.
fn imports_by_folder(sources: &[Source]) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let modules: BTreeMap<_, _> = sources
        .iter()
        .map(|source| (source.path.as_slice(), source.names()))
        .collect();
    let mut folders: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (path, names) in &modules {
        for name in names {
            let target = module_of(&modules, &name.path, 8);
            let shared = path.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (path.get(shared), target.get(shared)) {
                folders
                    .entry(path[..shared].join("/"))
                    .or_default()
                    .insert((from.clone(), to.clone()));
            }
        }
    }
    folders
}

/// What modules take from the own file of their folder, which uses them: module and item, but for a type that the module has methods of.
fn items_of_folders(sources: &[Source]) -> BTreeSet<(String, String)> {
    let modules: BTreeMap<_, _> = sources
        .iter()
        .map(|source| (source.path.as_slice(), source.names()))
        .collect();
    let mut taken = BTreeSet::new();
    for source in sources {
        let Some((_, folder)) = source.path.split_last() else {
            continue;
        };
        let Some(of_folder) = modules.get(folder).filter(|_| !folder.is_empty()) else {
            continue;
        };
        let is_used = of_folder
            .iter()
            .any(|name| module_of(&modules, &name.path, 8).starts_with(&source.path));
        for name in modules[source.path.as_slice()].iter().filter(|_| is_used) {
            let Some(item) = name.path.get(folder.len()) else {
                continue;
            };
            let completes = |line: &str| line.starts_with("impl") && has_word(line, item);
            if module_of(&modules, &name.path, 8) == folder && !source.code.lines().any(completes) {
                taken.insert((source.path.join("/"), item.clone()));
            }
        }
    }
    taken
}

/// The module that defines what a path names: the deepest one on it, or where that one has imported the name from.
fn module_of(
    modules: &BTreeMap<&[String], Vec<Name>>,
    path: &[String],
    imports: usize,
) -> Vec<String> {
    let depth = (0..=path.len())
        .rev()
        .find(|depth| modules.contains_key(&path[..*depth]))
        .unwrap_or_default();
    let imported = path.get(depth).zip(modules.get(&path[..depth]));
    let origin = imported.and_then(|(name, names)| {
        names
            .iter()
            .find(|found| found.imported_as.as_ref() == Some(name))
    });
    match origin {
        Some(origin) if imports > 0 => module_of(modules, &origin.path, imports - 1),
        _ => path[..depth].to_vec(),
    }
}

/// The circles among imports, each from its first module on.
fn circles(imports: &BTreeSet<(String, String)>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (from, _) in imports {
        let mut ways = vec![vec![from]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            let last = way[way.len() - 1];
            for (_, to) in imports.iter().filter(|(of, _)| of == last) {
                if to == from {
                    let mut names: Vec<_> = way.iter().map(|name| name.as_str()).collect();
                    let first = (0..names.len()).min_by_key(|at| names[*at]).unwrap_or(0);
                    names.rotate_left(first);
                    found.insert(format!("{} -> {}", names.join(" -> "), names[0]));
                } else if seen.insert(to) {
                    ways.push([way.as_slice(), &[to]].concat());
                }
            }
        }
    }
    found
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
