//! What `gepok check --print` prints: each option with its value, and where that comes from. It is a configuration file.

use std::fmt::Write as _;

use super::help::plain;
use super::said::{self, Said};
use super::source::Source;
use super::table::{self, CATEGORIES, Entry, Kind, Opt, Preset};
use super::value::is_list;
use super::vhost::{App, Header, HostOption, Rule, Vhost};

/// The column at which origins begin.
const ORIGIN: usize = 40;

/// Every option of the command: those that were said, and the defaults of the others; then the virtual hosts.
pub fn print(said: &[Said], vhosts: &[Vhost]) -> String {
    let mut page = String::new();
    for category in CATEGORIES {
        let of_server = |option: &&Opt| {
            option.taken_by(Entry::Binary) && !table::OF_COMMANDS.contains(&option.name)
        };
        let mut options = category.options.iter().filter(of_server).peekable();
        if options.peek().is_none() {
            continue;
        }
        let break_before = if page.is_empty() { "" } else { "\n" };
        let _ = writeln!(page, "{break_before}# {}", category.title);
        for option in options {
            let known = said.iter().find(|said| said.option.name == option.name);
            page += &line(option, known);
        }
    }
    vhosts.iter().for_each(|vhost| page += &host(vhost));
    page
}

fn host(vhost: &Vhost) -> String {
    let mut page = format!("\n{}", marked("[[vhost]]", &vhost.source));
    let _ = writeln!(page, "name = {}", quoted(&vhost.name));
    if !vhost.aliases.is_empty() {
        let _ = writeln!(page, "aliases = {}", array(&vhost.aliases));
    }
    if vhost.default {
        page += "default = true\n";
    }
    if let Some(App::Named(app)) = &vhost.app {
        let _ = writeln!(page, "app = {}", quoted(app));
    }
    let mut directories = String::new();
    options(&mut page, &vhost.options, &mut directories);
    rule(&mut page, &vhost.rule);
    if !vhost.redirects.is_empty() {
        page += "[vhost.redirect]\n";
    }
    for redirect in &vhost.redirects {
        let (from, to) = (quoted(&redirect.from), quoted(&redirect.to));
        let to = match &redirect.status {
            Some(status) => format!("[{status}, {to}]"),
            None => to,
        };
        page += &marked(&format!("{from} = {to}"), &redirect.source);
    }
    if !vhost.rewrites.is_empty() {
        page += "[vhost.rewrite]\n";
    }
    for rewrite in &vhost.rewrites {
        let (from, to) = (quoted(&rewrite.from), quoted(&rewrite.to));
        page += &marked(&format!("{from} = {to}"), &rewrite.source);
    }
    if !vhost.error_pages.is_empty() {
        page += "[vhost.error_page]\n";
    }
    for error in &vhost.error_pages {
        let (status, path) = (quoted(&error.status), quoted(&error.path));
        page += &marked(&format!("{status} = {path}"), &error.source);
    }
    headers(&mut page, "vhost", &vhost.headers);
    if let Some(dirs) = &vhost.user_dirs {
        page += "[vhost.user_dirs]\n";
        if let Some(folder) = &dirs.folder {
            let _ = writeln!(page, "user_subdirs = {}", quoted(folder));
        }
        if let Some(users) = &dirs.allow_users {
            let _ = writeln!(page, "allow_users = {}", array(users));
        }
        if !dirs.deny_users.is_empty() {
            let _ = writeln!(page, "deny_users = {}", array(&dirs.deny_users));
        }
        options(&mut page, &dirs.options, &mut String::new());
        rule(&mut page, &dirs.rule);
    }
    page += &directories;
    for directory in &vhost.directories {
        page += &marked("[[vhost.directory]]", &directory.source);
        let _ = writeln!(page, "path = {}", quoted(&directory.path));
        if let Some(location) = &directory.location {
            let _ = writeln!(page, "location = {}", quoted(location));
        }
        options(&mut page, &directory.options, &mut String::new());
        rule(&mut page, &directory.rule);
        headers(&mut page, "vhost.directory", &directory.headers);
    }
    page
}

/// Options about files. A host has one list of directories: theirs come to `directories`.
fn options(page: &mut String, said: &[HostOption], directories: &mut String) {
    for (name, texts, source) in said {
        let pairs = texts.iter().filter_map(|text| text.split_once('='));
        match table::find(name, Entry::Binary) {
            Some(_) if *name == "directory" => pairs.for_each(|(path, location)| {
                *directories += &marked("[[vhost.directory]]", source);
                let (path, location) = (quoted(path), quoted(location));
                let _ = write!(directories, "path = {path}\nlocation = {location}\n");
            }),
            Some(option) => {
                *page += &marked(&format!("{name} = {}", value(&option.kind, texts)), source);
            }
            None => {}
        }
    }
}

fn headers(page: &mut String, of: &str, headers: &[Header]) {
    if !headers.is_empty() {
        let _ = writeln!(page, "[{of}.headers]");
    }
    for header in headers {
        let (name, value) = (quoted(&header.name), quoted(&header.value));
        *page += &marked(&format!("{name} = {value}"), &header.source);
    }
}

fn rule(page: &mut String, rule: &Rule) {
    if let Some(allow) = &rule.allow {
        let _ = writeln!(page, "allow = {}", array(allow));
    }
    if !rule.deny.is_empty() {
        let _ = writeln!(page, "deny = {}", array(&rule.deny));
    }
}

fn array(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

fn marked(text: &str, source: &Source) -> String {
    format!("{text:<width$} # {source}\n", width = ORIGIN - 1)
}

fn line(option: &Opt, said: Option<&Said>) -> String {
    let (text, origin) = match (said, said::preset(option)) {
        (Some(said), _) => {
            let text = format!("{} = {}", option.name, value(&option.kind, &said.texts));
            // A file can't name another one.
            let mark = if option.name == "config" { "# " } else { "" };
            (format!("{mark}{text}"), said.source.to_string())
        }
        (None, Some(preset)) => {
            let value = value(&option.kind, &[preset.to_owned()]);
            (format!("{} = {value}", option.name), "default".to_owned())
        }
        (None, None) => {
            let origin = match option.preset {
                Preset::Described(text) => {
                    format!("default: {}", plain(text))
                }
                Preset::None | Preset::Value(_) => "not set".to_owned(),
            };
            (format!("# {}", option.name), origin)
        }
    };
    format!("{text:<width$} # {origin}\n", width = ORIGIN - 1)
}

/// A value as TOML, by the kind of its option.
fn value(kind: &Kind, texts: &[String]) -> String {
    if is_list(kind) {
        return match texts {
            [one] => quoted(one),
            texts => array(texts),
        };
    }
    let text = texts.last().map_or("", String::as_str);
    match kind {
        Kind::Flag(_) => table::flag(text).unwrap_or_default().to_string(),
        Kind::Integer(..) if text.parse::<u32>().is_ok() => text.to_owned(),
        Kind::Seconds(_) if text.parse::<u32>().is_ok() => text.to_owned(),
        Kind::CodeOrConstant(_) if matches!(text, "0" | "1") => text.to_owned(),
        _ => quoted(text),
    }
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            c if c.is_control() => write!(quoted, "\\u{:04X}", u32::from(c)),
            c => write!(quoted, "{c}"),
        };
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::said::Source;
    use crate::config::{file, sources::Sources, variables::Variables};

    fn typed(name: &str, text: &str) -> Said {
        let option = table::find(name, Entry::Binary).expect(name);
        Said::new(option, text.to_owned(), Source::Typed)
    }

    #[test]
    fn each_value_has_its_origin() {
        let sources = Sources::new(
            vec![typed("config", "site.toml"), typed("keepalive", "no")],
            Variables::default(),
        );
        let understood = sources
            .read(Some("\ntimeout = 7\ninclude = ['a\"b', 'c']"))
            .expect("read");
        let page = print(&understood.said, &[]);
        for line in [
            "# config = \"site.toml\"                  # typed",
            "keepalive = false                       # typed",
            "timeout = 7                             # site.toml:2",
            "include = [\"a\\\"b\", \"c\"]                 # site.toml:3",
            "start_servers = 3                       # default",
            "# documents                             # not set",
            "# app                                   # default: app.psgi",
        ] {
            assert!(page.contains(&format!("{line}\n")), "{line}\n{page}");
        }
    }

    /// Protects: what is printed can be used as a configuration file, and means the same.
    #[test]
    fn it_is_a_configuration_file() {
        let said = vec![
            typed("name", "\"\\\u{7}"),
            typed("timeout", "0.5"),
            typed("umask", "022"),
            typed("max_content", "1.5G"),
            typed("http_ports", "8080,:81"),
        ];
        let hosts = "[[vhost]]\nname = 'a'\naliases = ['*.b', 'c']\ndefault = true\napp = 'x.psgi'\ndirectory = {'/s' = '/srv'}\nindex_file = ['x', 'y']\n\
                     redirect = {'/o/*' = '/n/*', '/p' = [301, 'http://q/']}\nrewrite = {'/r/*' = '/s'}\nerror_page = {404 = '/s/404.html', 5xx = '/s/5xx.html'}\nuser_dirs = {user_subdirs = 'www', allow_users = 'a', deny_users = ['b'], hidden = true, deny = 'all'}\nheaders = {X-A = 'a'}\nrequest_timeout = 5\nmax_content = '1M'\naccess_log_path = '/l'\nssl_cert_file = ['/c', '/d']\nallow = '10/8'\ndeny = []\n[[vhost]]\nname = 'd'\n\
                     [[vhost.directory]]\npath = '/p'\nlocation = '/l'\nhidden = true\nfallback = 'app'\nallow = []\ndeny = ['all']\nheaders = {X-A = 'b'}\n";
        let hosts = file::parse("f", hosts);
        assert_eq!(hosts.errors, []);
        let page = print(&said, &hosts.vhosts);
        let document = file::parse("f", &page);
        assert_eq!(document.errors, [], "{page}");
        assert_eq!(document.vhosts.len(), 2, "{page}");
        let again_page = print(&said, &document.vhosts);
        let plain = |page: &str| -> Vec<String> {
            let lines = page
                .lines()
                .map(|line| line.split(" # ").next().unwrap_or_default());
            lines.map(|line| line.trim_end().to_owned()).collect()
        };
        assert_eq!(plain(&page), plain(&again_page));
        let again = said::options(&document.said).expect("options");
        assert_eq!(again, said::options(&said).expect("options"));
    }
}
