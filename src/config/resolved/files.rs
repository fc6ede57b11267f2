//! What the options about files mean.

use std::path::PathBuf;

use super::super::error::{Error, Result};

use crate::coding::{self, Coding, Types};
use crate::config::options::{self, Options};

/// The files that the server sends itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Files {
    /// The directories, `documents` first
    pub directories: Vec<Directory>,
    /// The directories whose files the app names by X-Accel-Redirect
    pub internal: Vec<Directory>,
    /// The directories whose files the app names by X-Sendfile
    pub sendfile_roots: Vec<PathBuf>,
    /// Names of files that stand for a directory
    pub index: Vec<String>,
    /// Whether directories are listed
    pub listing: bool,
    /// Whether hidden files are served
    pub hidden: bool,
    /// Which links are followed
    pub symlinks: Symlinks,
    /// The value of Cache-Control; empty is none
    pub cache_control: String,
    /// Further header fields of responses with files
    pub headers: Vec<(String, String)>,
    /// A file of media types
    pub mime_types: Option<PathBuf>,
    /// The charset of texts; empty is none
    pub charset: String,
    /// Whether files that the app sends get conditional requests and ranges
    pub ranges: bool,
    /// Which responses of the app are compressed, if any
    pub compress: Option<coding::Settings>,
}

/// What the command `precompress` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precompress {
    /// The codings, and for which files
    pub coding: coding::Settings,
    /// Whether hidden files are compressed
    pub hidden: bool,
    /// A file of media types
    pub mime_types: Option<PathBuf>,
}

/// A directory whose files are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The option that names it
    pub option: &'static str,
    /// The path of its URL
    pub url: String,
    /// Its path
    pub path: PathBuf,
    /// What answers for a file that is not there
    pub fallback: Fallback,
}

/// What answers for a file that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The app
    App,
    /// 404
    NotFound,
    /// This file
    File(String),
}

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// None
    None,
    /// Those of the owner of what they lead to
    Owner,
    /// Those that stay inside
    Inside,
    /// All
    Follow,
}

pub(super) fn files(options: &Options) -> Result<Files> {
    let said = &options.files;
    let fallback = fallback(said)?;
    let mut directories = Vec::new();
    if let Some(path) = &said.documents {
        directories.push(Directory {
            option: "documents",
            url: "/".to_owned(),
            path: path_of("documents", path)?,
            fallback: fallback.clone().unwrap_or(Fallback::App),
        });
    }
    let of_directories = match fallback {
        Some(Fallback::App) => Fallback::App,
        _ => Fallback::NotFound,
    };
    for text in &said.directories {
        directories.push(directory("directory", text, of_directories.clone())?);
    }
    let internal = said.internal.iter();
    let internal = internal.map(|text| directory("internal", text, Fallback::NotFound));
    let roots = said.sendfile_roots.iter();
    Ok(Files {
        directories,
        internal: internal.collect::<Result<_>>()?,
        sendfile_roots: roots
            .map(|path| path_of("sendfile_root", path))
            .collect::<Result<_>>()?,
        index: index(said)?,
        listing: said.listing,
        hidden: said.hidden,
        symlinks: match said.symlinks.as_str() {
            "none" => Symlinks::None,
            "owner" => Symlinks::Owner,
            "inside" => Symlinks::Inside,
            "follow" => Symlinks::Follow,
            text => {
                return Err(Error::option(
                    "symlinks",
                    format!(
                        "'{}' is not none, owner, inside or follow",
                        text.escape_debug()
                    ),
                ));
            }
        },
        cache_control: field_value("cache_control", &said.cache_control)?,
        headers: Vec::new(),
        mime_types: mime_types(said)?,
        charset: charset(&said.charset)?,
        ranges: said.ranges,
        compress: match codings(said)? {
            codings if codings.is_empty() => None,
            codings => Some(coding(said, codings)?),
        },
    })
}

/// What the options say to the command `precompress`.
pub fn precompress(options: &Options) -> Result<Precompress> {
    let said = &options.files;
    let codings = match codings(said)? {
        codings if codings.is_empty() => Coding::ALL.to_vec(),
        codings => codings,
    };
    Ok(Precompress {
        coding: coding(said, codings)?,
        hidden: said.hidden,
        mime_types: mime_types(said)?,
    })
}

fn mime_types(said: &options::Files) -> Result<Option<PathBuf>> {
    match &said.mime_types {
        Some(path) if !path.is_empty() => path_of("mime_types", path).map(Some),
        _ => Ok(None),
    }
}

// For content that is compressed while it is sent, the quickest goes first.
fn codings(said: &options::Files) -> Result<Vec<Coding>> {
    let mut codings = Vec::new();
    for name in &said.compress {
        match (name.as_str(), Coding::named(name)) {
            (_, Some(coding)) if codings.contains(&coding) => {}
            (_, Some(coding)) => codings.push(coding),
            ("all" | "1" | "yes", None) if said.compress.len() == 1 => {
                codings = vec![Coding::Zstd, Coding::Brotli, Coding::Gzip];
            }
            ("none" | "0" | "no", None) if said.compress.len() == 1 => {}
            _ => {
                return Err(Error::option(
                    "compress",
                    format!(
                        "'{}' is not all, none, zstd, br or gzip",
                        name.escape_debug()
                    ),
                ));
            }
        }
    }
    Ok(codings)
}

fn coding(said: &options::Files, codings: Vec<Coding>) -> Result<coding::Settings> {
    let mut names = said.compress_types.iter();
    if let Some(name) = names.find(|name| !Types::is_name(name)) {
        return Err(Error::option(
            "compress_types",
            format!(
                "'{}' is not a media type, such as text/html or text/*",
                name.escape_debug()
            ),
        ));
    }
    let lower = |name: &String| name.to_ascii_lowercase();
    Ok(coding::Settings {
        codings,
        types: match said.compress_types.as_slice() {
            [] => Types::Known,
            names => Types::Named(names.iter().map(lower).collect()),
        },
        min_length: said.compress_min_length,
    })
}

// /PATH=DIR
fn directory(option: &'static str, text: &str, fallback: Fallback) -> Result<Directory> {
    let Some((url, path)) = text.split_once('=').filter(|(url, _)| is_url(url)) else {
        return Err(Error::option(
            option,
            format!("'{}' is not of the form /PATH=DIR", text.escape_debug()),
        ));
    };
    Ok(Directory {
        option,
        url: url.to_owned(),
        path: path_of(option, path)?,
        fallback,
    })
}

// Parts that a request's path can have.
pub(super) fn is_url(url: &str) -> bool {
    let plain = |part: &str| !matches!(part, "." | "..") && !part.contains('\0');
    url.starts_with('/') && !url.contains("//") && url.split('/').all(plain)
}

pub(super) fn path_of(option: &str, path: &str) -> Result<PathBuf> {
    if path.is_empty() || path.contains('\0') {
        return Err(Error::option(
            option,
            format!("'{}' is not a path", path.escape_debug()),
        ));
    }
    Ok(PathBuf::from(path))
}

fn fallback(said: &options::Files) -> Result<Option<Fallback>> {
    Ok(match said.fallback.as_deref() {
        None => None,
        Some("app") => Some(Fallback::App),
        Some("404") => Some(Fallback::NotFound),
        Some(path) if is_url(path) && !path.ends_with('/') => {
            if said.documents.is_none() {
                return Err(Error::option(
                    "fallback",
                    format!("'{path}' is below 'documents', which is not there"),
                ));
            }
            Some(Fallback::File(path.to_owned()))
        }
        Some(text) => {
            return Err(Error::option(
                "fallback",
                format!(
                    "'{}' is not app, 404 or a path such as /index.html",
                    text.escape_debug()
                ),
            ));
        }
    })
}

fn index(said: &options::Files) -> Result<Vec<String>> {
    let is_name = |name: &str| !matches!(name, "." | "..") && !name.contains(['/', '\0']);
    if let Some(name) = said.index.iter().find(|name| !is_name(name)) {
        return Err(Error::option(
            "index_file",
            format!("'{}' is not the name of a file", name.escape_debug()),
        ));
    }
    Ok(match said.index.as_slice() {
        [] => vec!["index.html".to_owned()],
        [none] if none == "none" => Vec::new(),
        names => names.to_vec(),
    })
}

pub(super) fn field_value(option: &str, text: &str) -> Result<String> {
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if !text.bytes().all(plain) || text.trim() != text {
        return Err(Error::option(
            option,
            format!("'{}' can't stand in a header field", text.escape_debug()),
        ));
    }
    Ok(text.to_owned())
}

fn charset(text: &str) -> Result<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte);
    if !text.bytes().all(plain) {
        return Err(Error::option(
            "charset",
            format!("'{}' is not the name of a charset", text.escape_debug()),
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(set: impl FnOnce(&mut options::Files)) -> Result<Files> {
        let mut options = Options::new();
        set(&mut options.files);
        files(&options)
    }

    #[test]
    fn nothing_is_served_unless_said() {
        let files = resolved(|_| {}).unwrap();
        assert!(files.directories.is_empty() && !files.listing && !files.hidden);
        assert_eq!(files.index, ["index.html"]);
        assert_eq!(
            (files.symlinks, &*files.charset),
            (Symlinks::Inside, "utf-8")
        );
    }

    #[test]
    fn documents_fall_back_to_the_app_and_directories_do_not() {
        let of = |fallback: Option<&str>| {
            let files = resolved(|said| {
                said.documents = Some("d".to_owned());
                said.directories = vec!["/a/b=c=d".to_owned()];
                said.fallback = fallback.map(str::to_owned);
            });
            let files = files.unwrap().directories;
            assert_eq!(
                (&*files[1].url, files[1].path.to_str()),
                ("/a/b", Some("c=d"))
            );
            (files[0].fallback.clone(), files[1].fallback.clone())
        };
        assert_eq!(of(None), (Fallback::App, Fallback::NotFound));
        assert_eq!(of(Some("app")), (Fallback::App, Fallback::App));
        assert_eq!(of(Some("404")), (Fallback::NotFound, Fallback::NotFound));
        let file = Fallback::File("/i.html".to_owned());
        assert_eq!(of(Some("/i.html")), (file, Fallback::NotFound));
    }

    #[test]
    fn codings_are_named() {
        use Coding::*;
        for (names, expected) in [
            (&[][..], &[][..]),
            (&["0"], &[]),
            (&["none"], &[]),
            (&["all"], &[Zstd, Brotli, Gzip]),
            (&["1"], &[Zstd, Brotli, Gzip]),
            (&["gzip", "br", "gzip"], &[Gzip, Brotli]),
        ] {
            let files = resolved(|said| {
                said.compress = names.iter().map(|&name| name.to_owned()).collect();
            });
            let codings = files.unwrap().compress.map(|settings| settings.codings);
            assert_eq!(codings.unwrap_or_default(), expected, "{names:?}");
        }
        let all = precompress(&Options::new()).unwrap().coding;
        assert_eq!((&*all.codings, all.min_length), (&Coding::ALL[..], 1024));
    }

    #[test]
    fn mistakes_are_told() {
        type Set = fn(&mut options::Files);
        let cases: &[(Set, &str)] = &[
            (
                |said| said.directories = vec!["a=b".into()],
                "'directory': 'a=b' is not of the form /PATH=DIR",
            ),
            (
                |said| said.directories = vec!["/a".into()],
                "'directory': '/a' is not of the form /PATH=DIR",
            ),
            (
                |said| said.directories = vec!["/a/../b=c".into()],
                "'directory': '/a/../b=c' is not of the form /PATH=DIR",
            ),
            (
                |said| said.directories = vec!["/a=".into()],
                "'directory': '' is not a path",
            ),
            (
                |said| said.internal = vec!["/a".into()],
                "'internal': '/a' is not of the form /PATH=DIR",
            ),
            (
                |said| said.sendfile_roots = vec![String::new()],
                "'sendfile_root': '' is not a path",
            ),
            (
                |said| said.symlinks = "some".into(),
                "'symlinks': 'some' is not none, owner, inside or follow",
            ),
            (
                |said| said.fallback = Some("500".into()),
                "'fallback': '500' is not app, 404 or a path such as /index.html",
            ),
            (
                |said| said.fallback = Some("/i".into()),
                "'fallback': '/i' is below 'documents', which is not there",
            ),
            (
                |said| said.index = vec!["a/b".into()],
                "'index_file': 'a/b' is not the name of a file",
            ),
            (
                |said| said.cache_control = "a\r\nb".into(),
                "'cache_control': 'a\\r\\nb' can't stand in a header field",
            ),
            (
                |said| said.charset = "x y".into(),
                "'charset': 'x y' is not the name of a charset",
            ),
            (
                |said| said.compress = vec!["gzip".into(), "deflate".into()],
                "'compress': 'deflate' is not all, none, zstd, br or gzip",
            ),
            (
                |said| said.compress = vec!["gzip".into(), "none".into()],
                "'compress': 'none' is not all, none, zstd, br or gzip",
            ),
            (
                |said| {
                    said.compress = vec!["all".into()];
                    said.compress_types = vec!["html".into()];
                },
                "'compress_types': 'html' is not a media type, such as text/html or text/*",
            ),
        ];
        for (set, expected) in cases {
            let error = resolved(*set).unwrap_err().to_string();
            assert_eq!(error, format!("option {expected}"));
        }
    }
}
