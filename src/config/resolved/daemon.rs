//! How the server stands in its system: background, pid file, folder, user.

use std::path::PathBuf;

use super::super::error::{Error, Result};

use crate::config::options::{self, Options};

/// How the server stands in its system.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Daemon {
    /// Whether to leave the terminal
    pub daemonize: bool,
    /// Where the pid is written
    pub pid_path: FilePath,
    /// Where others can read what workers do
    pub scoreboard_path: FilePath,
    /// The folder to change to; none: `/` in the background unless the workers load the app
    pub chdir: Option<PathBuf>,
    /// The mask of umask(2); none: as it is
    pub umask: Option<u32>,
    /// Whether only root may start it
    pub require_root: bool,
    /// The user to become, by name or number
    pub user: Option<String>,
    /// The groups to take, by name or number, the primary one first; none: the user's own
    pub groups: Vec<String>,
    /// Whether processes tell in their titles what they do
    pub proctitle: bool,
}

/// Which file, of those that have a usual place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePath {
    /// None is written
    None,
    /// One of this name in /var/run for root, else in the user's home
    Usual(String),
    /// This one
    At(PathBuf),
}

impl Daemon {
    pub(super) fn resolve(options: &Options) -> Result<Daemon> {
        let said = &options.daemon;
        Ok(Daemon {
            daemonize: said.daemonize,
            pid_path: match said.pid_path {
                None if !said.daemonize => FilePath::None,
                _ => FilePath::of_running(options)?,
            },
            scoreboard_path: match &said.scoreboard_path {
                None if !said.daemonize => FilePath::None,
                Some(_) if is_disabled(options) => FilePath::None,
                Some(path) => FilePath::At(path.clone()),
                None => FilePath::usual(options, "scoreboard")?,
            },
            chdir: said
                .chdir
                .clone()
                .filter(|path| !path.as_os_str().is_empty()),
            umask: said.umask,
            require_root: said.require_root,
            user: said.user.clone().filter(|user| !user.is_empty()),
            groups: said.groups.clone(),
            proctitle: said.proctitle,
        })
    }
}

impl FilePath {
    /// The pid file of a server that was started with these options and runs in the background.
    ///
    /// # Errors
    /// One sentence when its name can't be part of a path.
    pub fn of_running(options: &Options) -> Result<FilePath> {
        let options::Daemon { pid_path, .. } = &options.daemon;
        Ok(match pid_path {
            Some(path) if path.as_os_str().is_empty() => FilePath::None,
            Some(path) => FilePath::At(path.clone()),
            None => FilePath::usual(options, "pid")?,
        })
    }

    fn usual(options: &Options, what: &str) -> Result<FilePath> {
        let name = super::name(options);
        if name.contains(['/', '\0']) {
            return Err(Error::option(
                "name",
                format!(
                    "'{}' can't be part of the {what} file's path, so option '{what}_path' is needed",
                    name.escape_debug()
                ),
            ));
        }
        Ok(FilePath::Usual(format!("{name}.{what}")))
    }
}

/// Whether `scoreboard_path` was said to be none.
pub(super) fn is_disabled(options: &Options) -> bool {
    let path = options.daemon.scoreboard_path.as_ref();
    path.is_some_and(|path| matches!(path.to_str(), Some("" | "0")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, attributes};

    fn daemon(said: &[(&str, &str)]) -> Result<Daemon> {
        let port = [("port", "80")];
        let said = attributes::read(port.iter().chain(said).copied())?;
        Ok(Config::resolve(&said.options)?.daemon)
    }

    #[test]
    fn a_pid_file_is_written_in_the_background_and_where_one_is_named() {
        let path = |said: &[(&str, &str)]| daemon(said).unwrap().pid_path;
        let at = |path: &str| FilePath::At(path.into());
        let usual = |name: &str| FilePath::Usual(format!("{name}.pid"));
        assert_eq!(path(&[]), FilePath::None);
        assert_eq!(path(&[("daemonize", "1")]), usual("gepok"));
        assert_eq!(path(&[("daemonize", "1"), ("name", "x")]), usual("x"));
        assert_eq!(path(&[("pid", "p")]), at("p"));
        assert_eq!(path(&[("pid_path", "p"), ("daemonize", "1")]), at("p"));
        assert_eq!(
            path(&[("pid_path", ""), ("daemonize", "1")]),
            FilePath::None
        );
        assert!(daemon(&[("daemonize", "1"), ("name", "a/b")]).is_err());
        let both = [("pid_path", "p"), ("scoreboard_path", "s")];
        daemon(&[&[("daemonize", "1"), ("name", "a/b")][..], &both].concat()).unwrap();
    }

    #[test]
    fn a_scoreboard_is_a_file_in_the_background_and_where_one_is_named() {
        let path = |said: &[(&str, &str)]| daemon(said).unwrap().scoreboard_path;
        assert_eq!(path(&[]), FilePath::None);
        let usual = FilePath::Usual("x.scoreboard".to_owned());
        assert_eq!(path(&[("daemonize", "1"), ("name", "x")]), usual);
        let named = path(&[("scoreboard_path", "s")]);
        assert_eq!(named, FilePath::At("s".into()));
        for none in ["", "0"] {
            let said = [("scoreboard_path", none), ("daemonize", "1")];
            assert_eq!(path(&said), FilePath::None);
            let said = attributes::read([("port", "80"), said[0]]).unwrap();
            let config = Config::resolve(&said.options).unwrap();
            assert!(config.workers.fixed, "the pool stays at start_servers");
            assert_eq!((config.workers.start, config.life.most), (3, 3));
        }
    }

    #[test]
    fn groups_are_a_list_in_every_form() {
        for said in [
            &[("group", "a b c")][..],
            &[("group", "a, b,c,")],
            &[("group", "a"), ("group", "b c")],
        ] {
            assert_eq!(daemon(said).unwrap().groups, ["a", "b", "c"], "{said:?}");
        }
    }

    #[test]
    fn empty_names_are_none() {
        let none = daemon(&[("user", ""), ("chdir", "")]).unwrap();
        assert_eq!((none.user, none.chdir), (None, None));
        assert_eq!(daemon(&[("umask", "027")]).unwrap().umask, Some(0o27));
    }
}
