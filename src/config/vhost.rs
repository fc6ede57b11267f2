//! Virtual hosts, as they were said.

use super::source::Source;

/// A virtual host.
#[derive(Clone, Debug, PartialEq)]
pub struct Vhost {
    /// Where it begins
    pub source: Source,
    /// `name`
    pub name: String,
    /// `aliases`: names, and `*.` before a domain
    pub aliases: Vec<String>,
    /// `default`: it has the requests for hosts that are not known
    pub default: bool,
    /// `app`: its own, in place of the server's
    pub app: Option<App>,
    /// Options that it has for itself
    pub options: Vec<HostOption>,
    /// `redirect`: the path, the status and the place to go
    pub redirects: Vec<Redirect>,
    /// `rewrite` is code
    pub rewrite_code: bool,
    /// `handlers`: the paths of those that a program has
    pub handlers: Vec<String>,
    /// `rewrite`: the path, and the path that it stands for
    pub rewrites: Vec<Rewrite>,
    /// `error_page`: a status or a class of them, and the path of the page
    pub error_pages: Vec<ErrorPage>,
    /// `user_dirs`: the directories of the system's users
    pub user_dirs: Option<UserDirs>,
    /// `headers` of the responses with its files
    pub headers: Vec<Header>,
    /// `allow` and `deny` of the host
    pub rule: Rule,
    /// `directory`: parts of the host with a rule or with files
    pub directories: Vec<Directory>,
}

/// Where the app of a host comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum App {
    /// A file, or a module's name as plackup takes it
    Named(String),
    /// A code reference of the program
    Code,
}

impl Rule {
    /// What begins a word that stands for a subroutine of the program; its number follows.
    pub const CODE: &str = "code:";
}

impl Vhost {
    /// Whether requests for this host can go to the server's own app.
    pub fn needs_app(&self) -> bool {
        let says = |options: &[HostOption], option: &str, text: Option<&str>| {
            options.iter().any(|(name, texts, _)| {
                *name == option && text.is_none_or(|text| texts.iter().any(|said| said == text))
            })
        };
        let to_app = |options: &[HostOption]| says(options, "fallback", Some("app"));
        let mut directories = self.directories.iter();
        let no_files_go_on = says(&self.options, "documents", None)
            && says(&self.options, "fallback", None)
            && !to_app(&self.options)
            && !directories.any(|directory| to_app(&directory.options));
        self.app.is_none() && !no_files_go_on
    }
}

/// An option of a host or a part of one: the name, the values as a command line would spell them, and where.
pub type HostOption = (&'static str, Vec<String>, Source);

/// One redirect.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// Where it was said
    pub source: Source,
    /// A path, or one with `/*` at its end
    pub from: String,
    /// Its status; none: the usual one
    pub status: Option<String>,
    /// A path or a URL; `/*` at its end stands for the rest of the path
    pub to: String,
}

/// One rewriting.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewrite {
    /// Where it was said
    pub source: Source,
    /// A path, or one with `/*` at its end
    pub from: String,
    /// A path; `/*` at its end stands for the rest of the path
    pub to: String,
}

/// The page of an error.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorPage {
    /// Where it was said
    pub source: Source,
    /// A status, or `4xx` or `5xx`
    pub status: String,
    /// The path of a file of the host
    pub path: String,
}

/// Who may come: any of `allow` and none of `deny`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Where it was said; none: nothing was
    pub source: Option<Source>,
    /// `allow`; none: everybody
    pub allow: Option<Vec<String>>,
    /// `deny`
    pub deny: Vec<String>,
}

/// A header field of responses.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Where it was said
    pub source: Source,
    /// Its name
    pub name: String,
    /// Its value; empty: it is not sent
    pub value: String,
}

/// The directories of the system's users.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserDirs {
    /// `user_subdirs`: a folder in their homes; none: the usual one
    pub folder: Option<String>,
    /// `allow_users`; none: all
    pub allow_users: Option<Vec<String>>,
    /// `deny_users`
    pub deny_users: Vec<String>,
    /// Options about their files
    pub options: Vec<HostOption>,
    /// `allow` and `deny`
    pub rule: Rule,
}

/// A part of a host.
#[derive(Clone, Debug, PartialEq)]
pub struct Directory {
    /// Where it begins
    pub source: Source,
    /// `path`
    pub path: String,
    /// `location`: its files
    pub location: Option<String>,
    /// `location` is code
    pub location_code: bool,
    /// Options about its files
    pub options: Vec<HostOption>,
    /// `headers` of the responses with its files
    pub headers: Vec<Header>,
    /// `allow` and `deny`
    pub rule: Rule,
}
