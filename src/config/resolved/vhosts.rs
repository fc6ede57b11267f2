//! What virtual hosts mean.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::super::error::{Error, Result};

use super::super::options::Options;
use super::super::source::Source;
use super::super::table::{self, Entry};
use super::super::vhost;
use super::files::{self, Directory, Files, is_url};
use super::tls::{self, Certificate};
use crate::semantics::access::{Clients, Rule};
use crate::semantics::code::Code;
use crate::semantics::mapping::{Mapping, Redirect};
use crate::semantics::message::RequestTimeout;
use crate::semantics::networks::network;
use crate::semantics::target::decode_path;

/// A virtual host.
#[derive(Clone, Debug, PartialEq)]
pub struct Vhost {
    /// Where it was said
    pub source: Source,
    /// Its names in lower case; `*.` before a domain stands for all names below it
    pub names: Vec<String>,
    /// Whether it has the requests for hosts that are not known
    pub default: bool,
    /// Its own app
    pub app: Option<vhost::App>,
    /// Whether requests can go to the app of the server
    pub needs_app: bool,
    /// Its files
    pub files: Files,
    /// The files of its directories, one each
    pub parts: Vec<Files>,
    /// Its redirects
    pub redirects: Vec<Redirect>,
    /// Paths that stand for others
    pub rewrites: Vec<Mapping>,
    /// The paths of the pages of errors, by their statuses
    pub error_pages: BTreeMap<u16, String>,
    /// The directories of the system's users
    pub user_dirs: Option<UserDirs>,
    /// Its certificates, where it has its own
    pub certificates: Vec<Certificate>,
    /// Bytes of content that a request may have, [`u64::MAX`] without limit; none: as many as the server allows
    pub max_content: Option<u64>,
    /// Its access log, where it has its own or none
    pub access_log: Option<AccessLog>,
    /// How long its app may be silent on a request
    pub request_timeout: RequestTimeout,
    /// Who may come to a path and what is below it
    pub rules: Vec<(String, Rule)>,
    /// What code of the program decides, if any does
    pub code: Option<Code>,
}

/// The status of a redirect that names none: the method and the content stay, and it may change.
const STATUS: u16 = 307;

/// Header fields that the server sends itself.
const OF_SERVER: [&str; 14] = [
    "Accept-Ranges",
    "Allow",
    "Cache-Control",
    "Connection",
    "Date",
    "ETag",
    "Keep-Alive",
    "Last-Modified",
    "Location",
    "Server",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Vary",
];

pub(super) fn vhosts(options: &Options) -> Result<Vec<Vhost>> {
    let mut taken: HashMap<String, &Source> = HashMap::new();
    let mut default: Option<&Source> = None;
    let mut vhosts = Vec::new();
    // Each host changes a copy, which need not have all the others.
    let mut base = options.clone();
    base.vhosts.clear();
    for said in &options.vhosts {
        let vhost = vhost(&base, said)?;
        for name in &vhost.names {
            if let Some(other) = taken.insert(name.clone(), &said.source) {
                let by = match other {
                    Source::Typed => "another virtual host".to_owned(),
                    other => format!("the virtual host at {other}"),
                };
                return Err(wrong(
                    &said.source,
                    format!("the name '{name}' is taken by {by}"),
                ));
            }
        }
        if vhost.default
            && let Some(other) = default.replace(&said.source)
        {
            let by = match other {
                Source::Typed => "another virtual host".to_owned(),
                other => format!("the virtual host at {other}"),
            };
            return Err(wrong(&said.source, format!("{by} is the default already")));
        }
        vhosts.push(vhost);
    }
    let files = &options.files;
    let own = [
        ("documents", files.documents.is_some()),
        ("directory", !files.directories.is_empty()),
        ("fallback", files.fallback.is_some()),
    ];
    match own.iter().find(|(_, said)| *said) {
        Some((name, _)) if !vhosts.is_empty() => Err(Error::option(
            name,
            "there are virtual hosts, so it has to stand in one of them",
        )),
        _ => Ok(vhosts),
    }
}

/// The certificates of the hosts: first those of the default host.
pub(super) fn certificates(vhosts: &[Vhost]) -> Vec<Certificate> {
    let default = vhosts.iter().filter(|vhost| vhost.default);
    let others = vhosts.iter().filter(|vhost| !vhost.default);
    let all = default.chain(others);
    all.flat_map(|vhost| vhost.certificates.clone()).collect()
}

fn wrong(source: &Source, why: String) -> Error {
    source.error(why)
}

fn vhost(options: &Options, said: &vhost::Vhost) -> Result<Vhost> {
    let at = |why: String| wrong(&said.source, why);
    let mut names = Vec::new();
    for name in std::iter::once(&said.name).chain(&said.aliases) {
        let host = name.strip_prefix("*.").unwrap_or(name);
        let is_alias = !std::ptr::eq(name, &said.name);
        if !is_host(host) || host.len() < name.len() && !is_alias {
            let wanted = if is_alias {
                "a host name, or one after '*.'"
            } else {
                "a host name"
            };
            return Err(at(format!("'{}' is not {wanted}", name.escape_debug())));
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let one_process = options.start_servers == 0;
    let mut rules = Vec::new();
    rules.extend(rule("/", &said.rule, one_process)?);
    let has_roots = !options.files.sendfile_roots.is_empty();
    let (options, files) = files_of(options, said)?;
    let mut parts = Vec::new();
    for directory in &said.directories {
        let path = directory.path.as_str();
        let at = |why: String| wrong(&directory.source, why);
        if !is_url(path) {
            let path = path.escape_debug();
            return Err(at(format!("'{path}' is not a path, such as /private")));
        }
        let found = rule(path, &directory.rule, one_process)?;
        let has_options = !directory.options.is_empty() || !directory.headers.is_empty();
        let has_files = directory.location.is_some() || has_options;
        if found.is_none() && !has_files && !directory.location_code {
            let why = format!("the directory '{path}' needs a 'location', 'allow' or 'deny'");
            return Err(at(why));
        }
        rules.extend(found);
        if has_files {
            let headers = headers(&[&said.headers, &directory.headers])?;
            parts.push(Files {
                headers,
                ..part(&options, directory)?
            });
        }
    }
    let code = code(has_roots, said, &rules)?;
    let error_pages = error_pages(said, &files, &parts)?;
    let certificates = tls::of_host(&options.tls, &names);
    let certificates = certificates.map_err(|error| {
        let source = place(&said.options, &error).unwrap_or(&said.source);
        wrong(source, error.to_string())
    })?;
    let user_dirs = said.user_dirs.as_ref();
    let user_dirs = user_dirs.map(|dirs| user_dirs_of(&options, dirs, &said.source));
    let says = |option| said.options.iter().any(|(name, ..)| *name == option);
    let redirects = said.redirects.iter().map(redirect);
    let rewrites = said.rewrites.iter().map(rewrite);
    Ok(Vhost {
        source: said.source.clone(),
        names,
        default: said.default,
        app: said.app.clone(),
        needs_app: said.needs_app(),
        files,
        parts,
        redirects: redirects.collect::<Result<_>>()?,
        rewrites: rewrites.collect::<Result<_>>()?,
        error_pages,
        code,
        user_dirs: user_dirs.transpose()?,
        certificates,
        access_log: access_log(&options, said)?,
        max_content: says("max_content").then_some(match options.limits.content {
            0 => u64::MAX,
            most => most,
        }),
        request_timeout: match options.life.request_timeout {
            _ if !says("request_timeout") => RequestTimeout::OfServer,
            Duration::ZERO => RequestTimeout::None,
            limit => RequestTimeout::After(limit),
        },
        rules,
    })
}

/// Names of DNS, and addresses as they stand in a URI.
fn is_host(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_v6 = address.is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok());
    let is_name = name.bytes().all(plain) && !name.starts_with('.') && !name.contains("..");
    !name.is_empty() && name.len() <= 255 && (is_v6 || is_name)
}

/// The files of a host, and its options: those that say how files are sent are the server's where the host says nothing else.
fn files_of(options: &Options, said: &vhost::Vhost) -> Result<(Options, Files)> {
    let mut own = options.clone();
    own.files.documents = None;
    own.files.directories.clear();
    own.files.fallback = None;
    own.files.internal.clear();
    own.files.sendfile_roots.clear();
    own.tls.cert_file.clear();
    own.tls.key_file.clear();
    let mut files = with(&mut own, &said.options)?;
    files.headers = headers(&[&said.headers])?;
    Ok((own, files))
}

/// Header fields of responses. Of those with the same name the later one counts.
fn headers(lists: &[&[vhost::Header]]) -> Result<Vec<(String, String)>> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for header in lists.iter().copied().flatten() {
        let at = |why: String| wrong(&header.source, why);
        let name = header.name.as_str();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            let name = name.escape_debug();
            return Err(at(format!("'{name}' is not the name of a header field")));
        }
        let is = |known: &&str| name.eq_ignore_ascii_case(known);
        if OF_SERVER.iter().any(is)
            || name.to_ascii_lowercase().starts_with("content-") && !is(&"Content-Security-Policy")
        {
            let why = format!("the header field '{name}' is the server's own");
            return Err(at(why));
        }
        let value = files::field_value("headers", &header.value);
        let value = value.map_err(|error| at(error.to_string()))?;
        headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            headers.push((name.to_owned(), value));
        }
    }
    Ok(headers)
}

/// The files of a directory of a host with these options. Without a location they are those of `documents`.
fn part(host: &Options, said: &vhost::Directory) -> Result<Files> {
    let at = |why: String| wrong(&said.source, why);
    let path = said.path.as_str();
    let mut own = host.clone();
    own.files.directories.clear();
    let fallback = own.files.fallback.take();
    let own_fallback = said.options.iter().any(|(name, ..)| *name == "fallback");
    own.files.documents = match (&said.location, &host.files.documents) {
        (Some(location), _) => {
            let path_of = files::path_of("location", location);
            path_of.map_err(|error| at(error.to_string()))?;
            Some(location.clone())
        }
        (None, Some(documents)) => Some(format!("{}{path}", documents.trim_end_matches('/'))),
        (None, None) => {
            let why =
                format!("the directory '{path}' needs a 'location': there are no 'documents'");
            return Err(at(why));
        }
    };
    own.files.fallback = match (&said.location, fallback.as_deref()) {
        _ if own_fallback => None,
        (_, Some("app")) | (None, None) => Some("app".to_owned()),
        (None, Some(file)) if file != "404" => {
            let why = format!(
                "the directory '{path}' needs a 'location' or a 'fallback': that of the host is the file '{file}'"
            );
            return Err(at(why));
        }
        _ => Some("404".to_owned()),
    };
    let mut files = with(&mut own, &said.options)?;
    for directory in &mut files.directories {
        directory.option = "location";
        directory.url = path.to_owned();
    }
    Ok(files)
}

/// The files by these options, and what is said beside them.
fn with(own: &mut Options, said: &[vhost::HostOption]) -> Result<Files> {
    for (name, texts, source) in said {
        if *name == "index_file" {
            own.files.index.clear();
        }
        let Some(option) = table::find(name, Entry::Binary) else {
            continue;
        };
        for text in texts {
            let set = option.set(own, text);
            set.map_err(|error| wrong(source, error.to_string()))?;
        }
    }
    files::files(own).map_err(|error| match place(said, &error) {
        Some(source) => wrong(source, error.to_string()),
        None => error,
    })
}

/// Where the option was said that the error is about.
fn place<'s>(said: &'s [vhost::HostOption], error: &Error) -> Option<&'s Source> {
    let mut options = said.iter();
    let named = options.find(|(name, ..)| error.names(name));
    named.map(|(_, _, source)| source)
}

/// The directories of the system's users.
#[derive(Clone, Debug, PartialEq)]
pub struct UserDirs {
    /// A folder in a home
    pub folder: PathBuf,
    /// The users that have one; none: all
    pub allow_users: Option<Vec<String>>,
    /// The users that have none
    pub deny_users: Vec<String>,
    /// How files are sent; the one directory stands for all
    pub files: Files,
    /// Who may come
    pub rule: Rule,
}

fn user_dirs_of(host: &Options, said: &vhost::UserDirs, source: &Source) -> Result<UserDirs> {
    let folder = said.folder.as_deref().unwrap_or("public_html");
    let mut names = Path::new(folder).components();
    if folder.is_empty() || !names.all(|name| matches!(name, Component::Normal(_))) {
        let why = format!(
            "'user_subdirs': '{}' is not a folder in a home, such as public_html",
            folder.escape_debug()
        );
        return Err(wrong(source, why));
    }
    let mut own = host.clone();
    own.files.documents = Some("/".to_owned());
    own.files.directories.clear();
    own.files.fallback = Some("404".to_owned());
    // Users are strangers to each other: the host's word counts for its own files.
    own.files.symlinks = "owner".to_owned();
    Ok(UserDirs {
        folder: folder.into(),
        allow_users: said.allow_users.clone(),
        deny_users: said.deny_users.clone(),
        files: with(&mut own, &said.options)?,
        rule: rule("/", &said.rule, host.start_servers == 0)?
            .unwrap_or_default()
            .1,
    })
}

/// The access log of a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where it was said
    pub source: Source,
    /// Where it goes; empty: nowhere
    pub path: String,
    /// What its lines show
    pub format: String,
}

/// The access log by these options of a host.
fn access_log(options: &Options, said: &vhost::Vhost) -> Result<Option<AccessLog>> {
    let source = |option| said.options.iter().find(|(name, ..)| *name == option);
    let (path, format) = (source("access_log_path"), source("access_log_format"));
    match (path, format) {
        (None, None) => Ok(None),
        (None, Some((.., source))) => Err(wrong(
            source,
            "option 'access_log_format' needs 'access_log_path' of the virtual host".to_owned(),
        )),
        (Some((_, _, source)), _) => {
            let path = options.logging.access_log_path.clone().unwrap_or_default();
            if path.starts_with('|') {
                let why = "option 'access_log_path': a command is for the server's log, not for that of a virtual host";
                return Err(wrong(source, why.to_owned()));
            }
            Ok(Some(AccessLog {
                source: source.clone(),
                path,
                format: options.logging.access_log_format.clone(),
            }))
        }
    }
}

fn redirect(said: &vhost::Redirect) -> Result<Redirect> {
    let at = |why: String| wrong(&said.source, why);
    let status = match said.status.as_deref() {
        None => STATUS,
        Some(text @ ("301" | "302" | "303" | "307" | "308")) => text.parse().unwrap_or(STATUS),
        Some(text) => {
            return Err(at(format!(
                "'{text}' is not the status of a redirect: 301, 302, 303, 307 or 308"
            )));
        }
    };
    let mapping = mapping(&said.from, &said.to, &said.source)?;
    let is_url = ["http://", "https://"].iter().any(|scheme| {
        let host = mapping.to.strip_prefix(scheme);
        host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
    });
    if !(is_url || is_local(&mapping)) {
        let to = said.to.escape_debug();
        return Err(at(format!(
            "'{to}' is not a path or URL to go to, such as /new/* for /old/*, or https://example.org/"
        )));
    }
    Ok(Redirect { mapping, status })
}

fn rewrite(said: &vhost::Rewrite) -> Result<Mapping> {
    let mapping = mapping(&said.from, &said.to, &said.source)?;
    let path = mapping.to.split('?').next().unwrap_or_default();
    let decodes = decode_path(path.as_bytes()).is_ok();
    if !is_local(&mapping) || !decodes || mapping.to.contains('#') {
        let to = said.to.escape_debug();
        let why = format!(
            "'{to}' is not a path of this host, such as /new/* for /old/*; other hosts need 'redirect'"
        );
        return Err(wrong(&said.source, why));
    }
    Ok(mapping)
}

/// The pages by their statuses. A status by itself comes before its class.
fn error_pages(
    said: &vhost::Vhost,
    files: &Files,
    parts: &[Files],
) -> Result<BTreeMap<u16, String>> {
    let (mut of_classes, mut pages) = (BTreeMap::new(), BTreeMap::new());
    for page in &said.error_pages {
        let at = |why: String| wrong(&page.source, why);
        let path = page.path.as_str();
        if !is_url(path) || path.ends_with('/') {
            let path = path.escape_debug();
            return Err(at(format!(
                "'{path}' is not the path of a page, such as /errors/404.html"
            )));
        }
        let names = |path: &str| -> Vec<String> {
            let names = path.split('/').filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        let is_below = |directory: &Directory| names(path).starts_with(&names(&directory.url));
        let mut directories = std::iter::once(files).chain(parts);
        if !directories.any(|files| files.directories.iter().any(is_below)) {
            let why = format!("'{path}' is in no directory of files of this host");
            return Err(at(why));
        }
        let status = match page.status.as_str() {
            class @ ("4xx" | "5xx") => {
                let first = if class == "4xx" { 400 } else { 500 };
                of_classes.extend((first..first + 100).map(|status| (status, path.to_owned())));
                continue;
            }
            status => status.parse().ok(),
        };
        let Some(status) = status.filter(|status| (400..600).contains(status)) else {
            let status = page.status.escape_debug();
            return Err(at(format!(
                "'{status}' is not the status of an error, such as 404 or 5xx"
            )));
        };
        pages.insert(status, path.to_owned());
    }
    of_classes.append(&mut pages);
    Ok(of_classes)
}

/// Whether the place is a path of the same host.
fn is_local(mapping: &Mapping) -> bool {
    let to = mapping.to.as_str();
    to.starts_with('/') && !to.starts_with("//") || to.is_empty() && mapping.keeps_rest
}

/// The mapping of a path, of which at least its form is right, to some place.
fn mapping(said_from: &str, said_to: &str, source: &Source) -> Result<Mapping> {
    let (from, below) = match said_from.strip_suffix("/*") {
        Some(from) => (from, true),
        None => (said_from, false),
    };
    let (to, keeps_rest) = match said_to.strip_suffix("/*") {
        Some(to) => (to, true),
        None => (said_to, false),
    };
    let graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_path = (from.starts_with('/') || from.is_empty() && below) && graphic(from);
    if !is_path || from.contains(['*', '?', '#']) {
        let from = said_from.escape_debug();
        let why = format!("'{from}' is not a path, such as /news or /old/*");
        return Err(wrong(source, why));
    }
    if !graphic(to) || to.contains('*') || keeps_rest && (!below || to.contains('?')) {
        let to = said_to.escape_debug();
        let why = format!("'{to}' is not a place to go to, such as /new/* for /old/*");
        return Err(wrong(source, why));
    }
    Ok(Mapping {
        from: from.to_owned(),
        below,
        to: to.to_owned(),
        keeps_rest,
    })
}

/// What code of the program decides for a host.
fn code(has_roots: bool, said: &vhost::Vhost, rules: &[(String, Rule)]) -> Result<Option<Code>> {
    let at = |why: String| wrong(&said.source, why);
    let directories = said.directories.iter();
    let locations: Vec<_> = directories
        .filter(|directory| directory.location_code)
        .map(|directory| directory.path.clone())
        .collect();
    // The subroutines name files as apps do.
    if !locations.is_empty() && !has_roots {
        let why = "code in 'location' needs option 'sendfile_root': the directory of the files";
        return Err(at(why.to_owned()));
    }
    if let Some(path) = said.handlers.iter().find(|path| !is_url(path)) {
        let path = path.escape_debug();
        return Err(at(format!(
            "'handlers': '{path}' is not a path, such as /status"
        )));
    }
    let in_rules = rules.iter().any(|(_, rule)| rule.code().next().is_some());
    let code = Code {
        rewrite: said.rewrite_code,
        handlers: said.handlers.clone(),
        locations,
    };
    Ok((in_rules || code != Code::default()).then_some(code))
}

/// The rule of a path. The system's resolver reads the environment, which an app in the same process may change meanwhile.
fn rule(path: &str, said: &vhost::Rule, one_process: bool) -> Result<Option<(String, Rule)>> {
    let Some(source) = &said.source else {
        return Ok(None);
    };
    let all = |words: &[String]| -> Result<Vec<Clients>> {
        let clients = words.iter().map(|word| {
            clients(word).ok_or_else(|| {
                let word = word.escape_debug();
                wrong(
                    source,
                    format!(
                        "'{word}' is not an address, a network such as 192.0.2.0/24, a range such as 192.0.2.1-192.0.2.9, a host name, a domain such as .example.org, unix: or all"
                    ),
                )
            })
        });
        clients.collect()
    };
    let rule = Rule {
        allow: said.allow.as_deref().map(all).transpose()?,
        deny: all(&said.deny)?,
    };
    let mut clients = rule.allow.iter().flatten().chain(&rule.deny);
    if one_process && clients.any(Clients::are_named) {
        let why =
            "host names in rules need workers: with 'start_servers' 0 only addresses can be used";
        return Err(wrong(source, why.to_owned()));
    }
    Ok(Some((path.to_owned(), rule)))
}

/// Clients by the name of their host, or by their domain with its dot. A single word is more likely one that is misspelt.
fn named(word: &str) -> Option<Clients> {
    let name = word.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let host = name.strip_prefix('.').unwrap_or(name);
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_name = last.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_domain = host.len() < name.len();
    let is_one = host == "localhost" || is_domain || host.contains('.');
    if !(is_one && is_name && is_host(host)) {
        return None;
    }
    Some(match is_domain {
        true => Clients::Domain(name.to_owned()),
        false => Clients::Host(name.to_owned()),
    })
}

/// Clients by a word. `10/8` is `10.0.0.0/8`.
fn clients(word: &str) -> Option<Clients> {
    match word {
        "unix:" => return Some(Clients::Unix),
        "all" => return Some(Clients::All),
        _ => {}
    }
    if let Some(number) = word.strip_prefix(vhost::Rule::CODE) {
        return number.parse().ok().map(Clients::Code);
    }
    if let Some(clients) = named(word) {
        return Some(clients);
    }
    if let Some((first, last)) = word.split_once('-') {
        let [first, last] = [first, last].map(|text| text.trim().parse::<IpAddr>().ok());
        let (first, last) = (first?.to_canonical(), last?.to_canonical());
        let same = first.is_ipv4() == last.is_ipv4();
        return (same && first <= last).then_some(Clients::Range(first, last));
    }
    let padded = word.split_once('/').and_then(|(address, bits)| {
        let numbers = address.split('.').count();
        let short = !address.contains(':') && numbers < 4;
        short.then(|| format!("{address}{}/{bits}", ".0".repeat(4 - numbers)))
    });
    let (address, bits) = network(padded.as_deref().unwrap_or(word))?;
    Some(Clients::Network(address, bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, file};

    fn resolved(text: &str) -> Result<Vec<Vhost>, String> {
        let document = file::parse("f", text);
        if let Some(error) = document.errors.first() {
            return Err(error.to_string());
        }
        let mut options = crate::config::said::options(&document.said).expect("options");
        options.vhosts = document.vhosts;
        match Config::resolve(&options) {
            Ok(config) => Ok(config.vhosts),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_host_has_what_it_says() {
        let vhosts = resolved(
            "index_file = 'top.html'\nhidden = true\n[[vhost]]\nname = 'WWW.example.org.'\naliases = ['example.org', '*.Example.org']\n\
             default = true\ndocuments = '/srv'\nindex_file = ['a.html', 'b.html']\nredirect = { '/old/*' = '/new/*', '/n' = [308, 'https://x.org'] }\n\
             deny = '10/8'\n[[vhost.directory]]\npath = '/private'\nallow = ['192.0.2.1-192.0.2.9', 'unix:', '::ffff:10.0.0.0/104']\n\
             [[vhost]]\nname = 'b.org'\n[vhost.directory]\n'/static' = '/srv/static'\n",
        )
        .expect("resolved");
        let [first, second] = vhosts.as_slice() else {
            panic!("{vhosts:?}")
        };
        assert_eq!(
            first.names,
            ["www.example.org", "example.org", "*.example.org"]
        );
        assert!(first.default && !second.default);
        assert_eq!(first.files.index, ["a.html", "b.html"]);
        assert_eq!(second.files.index, ["top.html"]);
        assert!(first.files.hidden && second.files.hidden);
        assert_eq!(second.files.directories[0].url, "/static");
        let [old, n] = first.redirects.as_slice() else {
            panic!("{first:?}")
        };
        assert!(
            old.mapping.below && old.mapping.keeps_rest && (old.status, n.status) == (307, 308)
        );
        let net = Clients::Network("10.0.0.0".parse().unwrap(), 8);
        assert_eq!(first.rules[0].1.deny, std::slice::from_ref(&net));
        assert_eq!(first.rules[1].0, "/private");
        let range = Clients::Range("192.0.2.1".parse().unwrap(), "192.0.2.9".parse().unwrap());
        let allowed = vec![range, Clients::Unix, net];
        assert_eq!(first.rules[1].1.allow, Some(allowed));
    }

    #[test]
    fn mistakes_have_their_lines() {
        for (text, told) in [
            (
                "vhost = 1",
                "f:1: 'vhost' needs tables, as [[vhost]] begins them, not a whole number",
            ),
            ("[[vhost]]", "f:1: a virtual host needs a 'name'"),
            (
                "[[vhost]]\nname = 1",
                "f:2: 'name' needs a text, not a whole number",
            ),
            ("[[vhost]]\nname = 'a b'", "f:1: 'a b' is not a host name"),
            ("[[vhost]]\nname = '*.a'", "f:1: '*.a' is not a host name"),
            (
                "[[vhost]]\nname = 'a'\naliases = ['*b']",
                "f:1: '*b' is not a host name, or one after '*.'",
            ),
            (
                "[[vhost]]\nname = 'a'\nalaises = 'b'",
                "f:3: unknown key 'alaises' of a virtual host, did you mean 'aliases'?",
            ),
            (
                "[[vhost]]\nname = 'a'\nindex_fiel = 'b'",
                "f:3: unknown key 'index_fiel' of a virtual host, did you mean 'index_file'?",
            ),
            (
                "[[vhost]]\nname = 'a'\ntimeout = 5",
                "f:3: option 'timeout' is for the whole server, not for a virtual host",
            ),
            (
                "[[vhost]]\nname = 'a'\nhidden = 5",
                "f:3: option 'hidden' needs true or false, not a whole number",
            ),
            (
                "[[vhost]]\nname = 'a'\nsymlinks = 'x'",
                "f:3: option 'symlinks': 'x' is not none, owner, inside or follow",
            ),
            (
                "[[vhost]]\nname = 'a'\n[[vhost]]\nname = 'A'",
                "f:3: the name 'a' is taken by the virtual host at f:1",
            ),
            (
                "[[vhost]]\nname='a'\ndefault=true\n[[vhost]]\nname='b'\ndefault=true",
                "f:4: the virtual host at f:1 is the default already",
            ),
            (
                "documents = '/x'\n[[vhost]]\nname = 'a'",
                "option 'documents': there are virtual hosts, so it has to stand in one of them",
            ),
            (
                "[[vhost]]\nname='a'\nallow = ['x']",
                "f:3: 'x' is not an address, a network such as 192.0.2.0/24, a range such as 192.0.2.1-192.0.2.9, a host name, a domain such as .example.org, unix: or all",
            ),
            (
                "[[vhost]]\nname='a'\ndeny = ['10.0.0.9-10.0.0.1']",
                "f:3: '10.0.0.9-10.0.0.1' is not an address, a network such as 192.0.2.0/24, a range such as 192.0.2.1-192.0.2.9, a host name, a domain such as .example.org, unix: or all",
            ),
            (
                "[[vhost]]\nname='a'\n[[vhost.directory]]\npath = '/p'",
                "f:3: the directory '/p' needs a 'location', 'allow' or 'deny'",
            ),
            (
                "[[vhost]]\nname='a'\n[[vhost.directory]]\npath = 'p'\nallow = 'all'",
                "f:3: 'p' is not a path, such as /private",
            ),
            (
                "[[vhost]]\nname='a'\n[[vhost.directory]]\npath = '/p'\nhidden = true",
                "f:3: the directory '/p' needs a 'location': there are no 'documents'",
            ),
            (
                "[[vhost]]\nname='a'\ndocuments='/d'\nfallback='/i.html'\n[[vhost.directory]]\npath = '/p'\nhidden = true",
                "f:5: the directory '/p' needs a 'location' or a 'fallback': that of the host is the file '/i.html'",
            ),
            (
                "[[vhost]]\nname='a'\n[[vhost.directory]]\npath = '/p'\nlocation = '/l'\nsymlinks = 'x'",
                "f:6: option 'symlinks': 'x' is not none, owner, inside or follow",
            ),
            (
                "[[vhost]]\nname='a'\n[[vhost.directory]]\npath = '/p'\ndocuments = '/l'",
                "f:5: option 'documents' is for a virtual host, not for a directory",
            ),
            (
                "[[vhost]]\nname='a'\n[[vhost.directory]]\npaht = '/p'",
                "f:4: unknown key 'paht' of a directory, did you mean 'path'?",
            ),
            (
                "[[vhost]]\nname='a'\nredirect = {'x' = '/y'}",
                "f:3: 'x' is not a path, such as /news or /old/*",
            ),
            (
                "[[vhost]]\nname='a'\nredirect = {'/x' = '//y'}",
                "f:3: '//y' is not a path or URL to go to, such as /new/* for /old/*, or https://example.org/",
            ),
            (
                "[[vhost]]\nname='a'\nredirect = {'/x' = '/y/*'}",
                "f:3: '/y/*' is not a place to go to, such as /new/* for /old/*",
            ),
            (
                "[[vhost]]\nname='a'\nrewrite = {'/x' = 'https://y.org/'}",
                "f:3: 'https://y.org/' is not a path of this host, such as /new/* for /old/*; other hosts need 'redirect'",
            ),
            (
                "[[vhost]]\nname='a'\nrewrite = {'/x' = '/%zz'}",
                "f:3: '/%zz' is not a path of this host, such as /new/* for /old/*; other hosts need 'redirect'",
            ),
            (
                "[[vhost]]\nname='a'\nrewrite = {'x' = '/y'}",
                "f:3: 'x' is not a path, such as /news or /old/*",
            ),
            (
                "[[vhost]]\nname='a'\nrewrite = '/y'",
                "f:3: 'rewrite' needs a table, as { \"/old/*\" = \"/new/*\" }, not a text",
            ),
            (
                "[[vhost]]\nname='a'\nerror_page = {404 = '/404.html'}",
                "f:3: '/404.html' is in no directory of files of this host",
            ),
            (
                "[[vhost]]\nname='a'\ndocuments = '/d'\nerror_page = {304 = '/404.html'}",
                "f:4: '304' is not the status of an error, such as 404 or 5xx",
            ),
            (
                "[[vhost]]\nname='a'\ndocuments = '/d'\nerror_page = {404 = '404.html'}",
                "f:4: '404.html' is not the path of a page, such as /errors/404.html",
            ),
            (
                "[[vhost]]\nname='a'\nredirect = {'/x' = [404, '/y']}",
                "f:3: '404' is not the status of a redirect: 301, 302, 303, 307 or 308",
            ),
            (
                "[[vhost]]\nname='a'\nredirect = {'/x' = ['/y']}",
                "f:3: '/x' needs a path or URL, or a status and that, as [308, \"/new\"], not an array",
            ),
        ] {
            assert_eq!(resolved(text).expect_err(text), told, "{text}");
        }
    }
}
