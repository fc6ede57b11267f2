//! How the server stands in its system: background, pid file, folder, user.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::config::options::{self, Options};

/// How the server stands in its system.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Daemon {
    /// Whether to leave the terminal
    pub daemonize: bool,
    /// Where the pid is written
    pub pid_path: PidPath,
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

/// Which pid file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PidPath {
    /// None is written
    None,
    /// `NAME.pid` in /var/run for root, else in the user's home
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
                None if !said.daemonize => PidPath::None,
                _ => PidPath::of_running(options)?,
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

impl PidPath {
    /// The pid file of a server that was started with these options and runs in the background.
    ///
    /// # Errors
    /// One sentence when its name can't be part of a path.
    pub fn of_running(options: &Options) -> Result<PidPath> {
        let options::Daemon { pid_path, .. } = &options.daemon;
        Ok(match pid_path {
            Some(path) if path.as_os_str().is_empty() => PidPath::None,
            Some(path) => PidPath::At(path.clone()),
            None => {
                let name = super::name(options);
                if name.contains(['/', '\0']) {
                    bail!(
                        "option 'name': '{}' can't be part of the pid file's path, so option 'pid_path' is needed",
                        name.escape_debug()
                    );
                }
                PidPath::Usual(name)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, pairs};

    fn daemon(said: &[(&str, &str)]) -> Result<Daemon> {
        let port = [("port", "80")];
        let said = pairs::read(port.iter().chain(said).copied())?;
        Ok(Config::resolve(&said.options)?.daemon)
    }

    #[test]
    fn a_pid_file_is_written_in_the_background_and_where_one_is_named() {
        let path = |said: &[(&str, &str)]| daemon(said).unwrap().pid_path;
        let at = |path: &str| PidPath::At(path.into());
        let usual = |name: &str| PidPath::Usual(name.to_owned());
        assert_eq!(path(&[]), PidPath::None);
        assert_eq!(path(&[("daemonize", "1")]), usual("gepok"));
        assert_eq!(path(&[("daemonize", "1"), ("name", "x")]), usual("x"));
        assert_eq!(path(&[("pid", "p")]), at("p"));
        assert_eq!(path(&[("pid_path", "p"), ("daemonize", "1")]), at("p"));
        assert_eq!(path(&[("pid_path", ""), ("daemonize", "1")]), PidPath::None);
        assert!(daemon(&[("daemonize", "1"), ("name", "a/b")]).is_err());
        daemon(&[("daemonize", "1"), ("name", "a/b"), ("pid_path", "p")]).unwrap();
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
