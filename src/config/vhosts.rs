//! Virtual hosts in a configuration file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Error;
use super::options::Options;
use super::source::Source;
use super::table::{self, Entry, Opt};
use super::value::{Text, kind_of, texts};
use super::vhost::{
    App, Directory, ErrorPage, Header, HostOption, Redirect, Rewrite, Rule, UserDirs, Vhost,
};

/// Options that only a host can have for itself.
const OF_HOST: [&str; 8] = [
    "documents",
    "directory",
    "ssl_cert_file",
    "ssl_key_file",
    "max_content",
    "request_timeout",
    "access_log_path",
    "access_log_format",
];

/// Options about files that a host, or a directory of it, can have for itself.
const OF_FILES: [&str; 7] = [
    "index_file",
    "directory_list",
    "symlinks",
    "hidden",
    "fallback",
    "cache_control",
    "charset",
];

/// What else a host has.
const OWN: [&str; 11] = [
    "headers",
    "user_dirs",
    "error_page",
    "name",
    "aliases",
    "default",
    "app",
    "redirect",
    "rewrite",
    "allow",
    "deny",
];

const OF_USER_DIRS: [&str; 5] = ["user_subdirs", "allow_users", "deny_users", "allow", "deny"];

const OF_DIRECTORY: [&str; 5] = ["path", "location", "headers", "allow", "deny"];

type Value<'i> = Spanned<DeValue<'i>>;

/// The virtual hosts of `[[vhost]]`. What is wrong in them comes to the errors.
pub(super) fn read(
    text: &Text<'_>,
    at: usize,
    value: &Value<'_>,
    errors: &mut Vec<Error>,
) -> Vec<Vhost> {
    tables(text, at, "vhost", value, errors)
        .into_iter()
        .filter_map(|(at, table)| {
            let mut reader = Reader { text, errors };
            reader.vhost(at, table)
        })
        .collect()
}

/// The tables of an array of tables, and where each begins.
fn tables<'v, 'i>(
    text: &Text<'_>,
    at: usize,
    name: &str,
    value: &'v Value<'i>,
    errors: &mut Vec<Error>,
) -> Vec<(usize, &'v DeTable<'i>)> {
    let mut tables = Vec::new();
    let mut wrong = |at, value: &DeValue<'_>| {
        let why = format!(
            "'{name}' needs tables, as [[{name}]] begins them, not {}",
            kind_of(value)
        );
        errors.push(text.error(at, why));
    };
    match value.get_ref() {
        DeValue::Array(values) => {
            for value in values.iter() {
                match value.get_ref() {
                    DeValue::Table(table) => tables.push((value.span().start, table)),
                    other => wrong(value.span().start, other),
                }
            }
        }
        other => wrong(at, other),
    }
    tables
}

struct Reader<'a> {
    text: &'a Text<'a>,
    errors: &'a mut Vec<Error>,
}

impl Reader<'_> {
    fn wrong(&mut self, at: usize, why: String) {
        self.errors.push(self.text.error(at, why));
    }

    fn vhost(&mut self, at: usize, table: &DeTable<'_>) -> Option<Vhost> {
        let before = self.errors.len();
        let mut vhost = Vhost {
            source: self.text.source(at),
            name: String::new(),
            aliases: Vec::new(),
            default: false,
            app: None,
            options: Vec::new(),
            redirects: Vec::new(),
            rewrite_code: false,
            handlers: Vec::new(),
            rewrites: Vec::new(),
            error_pages: Vec::new(),
            user_dirs: None,
            headers: Vec::new(),
            rule: Rule::default(),
            directories: Vec::new(),
        };
        for (key, value) in sorted(table) {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            match name {
                "name" => vhost.name = self.one(at, name, value).unwrap_or_default(),
                "aliases" => vhost.aliases = self.list(at, name, value),
                "default" => match value.get_ref() {
                    DeValue::Boolean(yes) => vhost.default = *yes,
                    other => self.mismatch(at, name, "true or false", other),
                },
                "app" => vhost.app = self.app(at, value),
                "redirect" => vhost.redirects = self.redirects(at, value),
                "rewrite" if self.is_code(value) => vhost.rewrite_code = true,
                "handlers" if self.text.is_of_program() => {
                    vhost.handlers = self.list(at, name, value);
                }
                "rewrite" => vhost.rewrites = self.rewrites(at, value),
                "headers" => vhost.headers = self.headers(at, value),
                "user_dirs" => vhost.user_dirs = self.user_dirs(at, value),
                "error_page" => vhost.error_pages = self.error_pages(at, value),
                "allow" | "deny" => self.rule(at, name, value, &mut vhost.rule),
                "directory" | "directories" if is_array_of_tables(value.get_ref()) => {
                    vhost.directories = self.directories(at, value);
                }
                _ => {
                    let of = ("a virtual host", &OWN[..]);
                    vhost.options.extend(self.option(
                        (at, name, value),
                        of,
                        &[&OF_HOST, &OF_FILES],
                    ));
                }
            }
        }
        if !table.contains_key("name") && self.errors.len() == before {
            self.wrong(at, "a virtual host needs a 'name'".to_owned());
        }
        Some(vhost)
    }

    /// A program has code references beside its text, which says `true` there.
    fn app(&mut self, at: usize, value: &Value<'_>) -> Option<App> {
        match self.is_code(value) {
            true => Some(App::Code),
            false => self.one(at, "app", value).map(App::Named),
        }
    }

    fn is_code(&self, value: &Value<'_>) -> bool {
        matches!(value.get_ref(), DeValue::Boolean(true)) && self.text.is_of_program()
    }

    /// An option of those that are allowed; `own` are other keys of this table, `whose` says what it describes.
    fn option(
        &mut self,
        (at, name, value): (usize, &str, &Value<'_>),
        (whose, own): (&str, &[&'static str]),
        allowed: &[&[&'static str]],
    ) -> Option<HostOption> {
        let option = table::find(name, Entry::Binary);
        let is_allowed = |option: &&Opt| allowed.iter().any(|list| list.contains(&option.name));
        let Some(option) = option.filter(is_allowed) else {
            let known = own.iter().chain(allowed.iter().copied().flatten());
            let why = match (option, nearest(name, known)) {
                (Some(option), _) if OF_HOST.contains(&option.name) => {
                    format!("option '{name}' is for a virtual host, not for {whose}")
                }
                (Some(_), _) => format!("option '{name}' is for the whole server, not for {whose}"),
                (None, near) => unknown(name, &format!("of {whose}"), near),
            };
            self.wrong(at, why);
            return None;
        };
        match texts(option, value.get_ref()) {
            Ok(texts) => {
                let mut scratch = Options::default();
                let mut set = texts.iter().map(|text| option.set(&mut scratch, text));
                if let Some(error) = set.find_map(Result::err) {
                    self.wrong(at, error.to_string());
                    return None;
                }
                Some((option.name, texts, self.text.source(at)))
            }
            Err(why) => {
                self.wrong(at, format!("option '{name}' {why}"));
                None
            }
        }
    }

    fn directories(&mut self, at: usize, value: &Value<'_>) -> Vec<Directory> {
        let tables = tables(self.text, at, "vhost.directory", value, self.errors);
        tables
            .into_iter()
            .filter_map(|(at, table)| self.directory(at, table))
            .collect()
    }

    fn directory(&mut self, at: usize, table: &DeTable<'_>) -> Option<Directory> {
        let before = self.errors.len();
        let mut directory = Directory {
            source: self.text.source(at),
            path: String::new(),
            location: None,
            location_code: false,
            options: Vec::new(),
            headers: Vec::new(),
            rule: Rule::default(),
        };
        for (key, value) in sorted(table) {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            match name {
                "path" => directory.path = self.one(at, name, value).unwrap_or_default(),
                "headers" => directory.headers = self.headers(at, value),
                "location" if self.is_code(value) => directory.location_code = true,
                "location" => directory.location = self.one(at, name, value),
                "allow" | "deny" => self.rule(at, name, value, &mut directory.rule),
                _ => {
                    let of = ("a directory", &OF_DIRECTORY[..]);
                    directory
                        .options
                        .extend(self.option((at, name, value), of, &[&OF_FILES]));
                }
            }
        }
        if !table.contains_key("path") && self.errors.len() == before {
            self.wrong(at, "a directory needs a 'path'".to_owned());
        }
        Some(directory)
    }

    fn user_dirs(&mut self, at: usize, value: &Value<'_>) -> Option<UserDirs> {
        let DeValue::Table(table) = value.get_ref() else {
            let wanted = "a table, as { user_subdirs = \"public_html\" }";
            self.mismatch(at, "user_dirs", wanted, value.get_ref());
            return None;
        };
        let mut dirs = UserDirs::default();
        for (key, value) in sorted(table) {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            match name {
                "user_subdirs" => dirs.folder = self.one(at, name, value),
                "allow_users" => dirs.allow_users = Some(self.list(at, name, value)),
                "deny_users" => dirs.deny_users = self.list(at, name, value),
                "allow" | "deny" => self.rule(at, name, value, &mut dirs.rule),
                "fallback" => {
                    let why = "option 'fallback' is not for 'user_dirs'";
                    self.wrong(at, why.to_owned());
                }
                _ => {
                    let of = ("'user_dirs'", &OF_USER_DIRS[..]);
                    dirs.options
                        .extend(self.option((at, name, value), of, &[&OF_FILES]));
                }
            }
        }
        Some(dirs)
    }

    fn rule(&mut self, at: usize, name: &str, value: &Value<'_>, rule: &mut Rule) {
        rule.source = Some(self.text.source(at));
        let list = self.list(at, name, value);
        let is_code = |word: &&String| word.starts_with(Rule::CODE);
        if let Some(word) = list
            .iter()
            .find(is_code)
            .filter(|_| !self.text.is_of_program())
        {
            let why = format!(
                "'{}': code can stand only in a program",
                word.escape_debug()
            );
            self.wrong(at, why);
        }
        match name {
            "allow" => rule.allow = Some(list),
            _ => rule.deny = list,
        }
    }

    fn redirects(&mut self, at: usize, value: &Value<'_>) -> Vec<Redirect> {
        let DeValue::Table(table) = value.get_ref() else {
            let wanted = "a table, as { \"/old/*\" = \"/new/*\" }";
            self.mismatch(at, "redirect", wanted, value.get_ref());
            return Vec::new();
        };
        let mut redirects = Vec::new();
        for (key, value) in sorted(table) {
            let at = key.span().start;
            let (status, to) = match value.get_ref() {
                DeValue::Array(parts) if parts.len() == 2 => {
                    let status = match parts[0].get_ref() {
                        DeValue::Integer(number) => Some(number.to_string()),
                        _ => None,
                    };
                    (status, parts[1].get_ref())
                }
                other => (None, other),
            };
            let pair = matches!(value.get_ref(), DeValue::Array(_));
            match to {
                DeValue::String(to) if status.is_some() || !pair => redirects.push(Redirect {
                    source: self.text.source(at),
                    from: key.get_ref().to_string(),
                    status,
                    to: to.to_string(),
                }),
                _ => self.mismatch(
                    at,
                    key.get_ref(),
                    "a path or URL, or a status and that, as [308, \"/new\"]",
                    value.get_ref(),
                ),
            }
        }
        redirects
    }

    fn rewrites(&mut self, at: usize, value: &Value<'_>) -> Vec<Rewrite> {
        let pairs = self.pairs(at, "rewrite", "{ \"/old/*\" = \"/new/*\" }", value);
        pairs
            .into_iter()
            .map(|(source, from, to)| Rewrite { source, from, to })
            .collect()
    }

    fn error_pages(&mut self, at: usize, value: &Value<'_>) -> Vec<ErrorPage> {
        let pairs = self.pairs(at, "error_page", "{ 404 = \"/404.html\" }", value);
        let pages = pairs.into_iter().map(|(source, status, path)| ErrorPage {
            source,
            status,
            path,
        });
        pages.collect()
    }

    fn headers(&mut self, at: usize, value: &Value<'_>) -> Vec<Header> {
        let pairs = self.pairs(at, "headers", "{ X-Robots-Tag = \"noindex\" }", value);
        let headers = pairs.into_iter();
        headers
            .map(|(source, name, value)| Header {
                source,
                name,
                value,
            })
            .collect()
    }

    /// The keys and texts of a table, and where each key stands.
    fn pairs(
        &mut self,
        at: usize,
        name: &str,
        example: &str,
        value: &Value<'_>,
    ) -> Vec<(Source, String, String)> {
        let DeValue::Table(table) = value.get_ref() else {
            let wanted = format!("a table, as {example}");
            self.mismatch(at, name, &wanted, value.get_ref());
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (key, value) in sorted(table) {
            let at = key.span().start;
            let text = self.one(at, key.get_ref(), value);
            pairs.extend(text.map(|text| (self.text.source(at), key.get_ref().to_string(), text)));
        }
        pairs
    }

    fn one(&mut self, at: usize, name: &str, value: &Value<'_>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            other => {
                self.mismatch(at, name, "a text", other);
                None
            }
        }
    }

    fn list(&mut self, at: usize, name: &str, value: &Value<'_>) -> Vec<String> {
        match value.get_ref() {
            DeValue::String(text) => vec![text.to_string()],
            DeValue::Array(values) => {
                let mut list = Vec::new();
                for value in values.iter() {
                    list.extend(self.one(value.span().start, name, value));
                }
                list
            }
            other => {
                self.mismatch(at, name, "a text or an array of texts", other);
                Vec::new()
            }
        }
    }

    fn mismatch(&mut self, at: usize, name: &str, wanted: &str, found: &DeValue<'_>) {
        let found = kind_of(found);
        self.wrong(at, format!("'{name}' needs {wanted}, not {found}"));
    }
}

/// Whether `[[vhost.directory]]` begins its tables, in place of texts as the option has them.
fn is_array_of_tables(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Array(values) => values
            .iter()
            .any(|value| matches!(value.get_ref(), DeValue::Table(_))),
        _ => false,
    }
}

/// The entries of a table in the order of the file.
fn sorted<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<toml::de::DeString<'i>>, &'t Value<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn unknown(name: &str, of: &str, near: Option<&str>) -> String {
    let name = name.escape_debug();
    match near {
        Some(near) => format!("unknown key '{name}' {of}, did you mean '{near}'?"),
        None => format!("unknown key '{name}' {of}"),
    }
}

fn nearest<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k &'static str>,
) -> Option<&'static str> {
    let name = name.replace('-', "_");
    let distances = known
        .into_iter()
        .map(|known| (strsim::osa_distance(&name, known), *known));
    let near = distances.filter(|(distance, known)| *distance <= 3 && distance * 3 <= known.len());
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
