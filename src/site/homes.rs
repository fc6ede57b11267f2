//! Directories of the system's users: `/~user/` leads to a folder in the user's home.
//!
//! Where a home is the system says, which may ask a server for it: on a thread, and not again for a minute.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::User;
use tokio::sync::Semaphore;

use crate::disk;
use crate::documents::{self, Answer, Disks, Files};
use crate::log::limited;
use crate::semantics::access::Rule;
use crate::semantics::message::RequestHead;

/// How long an answer of the system counts.
const KNOWN: Duration = Duration::from_secs(60);

/// Names that are known at most; more are forgotten together.
const MOST: usize = 1000;

/// Questions to the system at a time.
const QUESTIONS: usize = 4;

/// How long the system has for an answer, the wait for other questions included.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest name of a user (useradd(8) takes 32, directories more).
const LONGEST: usize = 64;

/// The users' directories of a virtual host.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder in a home, as `public_html`.
    pub folder: PathBuf,
    /// The users that have one; none: all.
    pub allow_users: Option<Vec<String>>,
    /// The users that have none. That with the id 0 never has one.
    pub deny_users: Vec<String>,
    /// How their files are sent; the path is of no meaning.
    pub files: documents::Settings,
    /// Who may come.
    pub rule: Rule,
}

/// Where a user is at home, as the system says; nothing where there is none, or it is the superuser.
type Lookup = fn(&str) -> io::Result<Option<PathBuf>>;

/// What the system has said of a user, and when.
#[derive(Clone, Debug)]
struct Known {
    since: Instant,
    files: Option<Rc<Files>>,
}

/// The directories of the users.
pub struct Homes {
    settings: Settings,
    lookup: Lookup,
    /// By the user's name; nothing: there is no such directory.
    known: RefCell<HashMap<String, Known>>,
    questions: Arc<Semaphore>,
    disks: Disks,
}

impl fmt::Debug for Homes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Homes {
    pub(super) fn new(settings: Settings, disks: &Disks) -> Self {
        Homes {
            settings,
            lookup: home,
            known: RefCell::default(),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
            disks: disks.clone(),
        }
    }

    /// Who may come to them.
    pub(super) fn rule(&self) -> &Rule {
        &self.settings.rule
    }

    /// The user whose directory a request names; nothing where it names none.
    pub(super) fn user(head: &RequestHead) -> Option<String> {
        let name = documents::first_name(head)?;
        let name = String::from_utf8(name).ok()?;
        let user = name.strip_prefix('~')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@+".contains(&byte);
        let is_user = !user.is_empty() && user.len() <= LONGEST && user.bytes().all(plain);
        (is_user && !user.starts_with('-')).then(|| user.to_owned())
    }

    /// The response to a request for this user's directory. One that there is not looks like one that may not be seen.
    pub(super) async fn answer(&self, user: &str, head: &RequestHead) -> Answer {
        let missing = || documents::text(404, &[]);
        let Some(files) = self.files(user).await else {
            return missing();
        };
        let Some(place) = files.find(head) else {
            return missing();
        };
        files.answer(&place, head).await.unwrap_or_else(missing)
    }

    async fn files(&self, user: &str) -> Option<Rc<Files>> {
        let is_in = |users: &[String]| users.iter().any(|name| name == user);
        let allowed = self.settings.allow_users.as_deref().is_none_or(is_in);
        if !allowed || is_in(&self.settings.deny_users) {
            return None;
        }
        let known = self.known.borrow().get(user).cloned();
        if let Some(Known { since, files }) = known
            && since.elapsed() < KNOWN
        {
            return files;
        }
        let found = match tokio::time::timeout(PATIENCE, self.ask(user)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                limited!(Warn, "a user's home can't be looked up: {error}");
                return None;
            }
            Err(_) => {
                limited!(Warn, "the look-up of a user's home takes too long");
                return None;
            }
        };
        let files = found.map(|home| {
            let settings = documents::Settings {
                url: format!("/~{user}"),
                path: home,
                folder: self.settings.folder.clone(),
                ..self.settings.files.clone()
            };
            Rc::new(Files::sharing(&[settings], &self.disks))
        });
        let answer = Known {
            since: Instant::now(),
            files: files.clone(),
        };
        let mut known = self.known.borrow_mut();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(user.to_owned(), answer);
        files
    }

    /// The home of this user, where the folder is there and open to the server.
    async fn ask(&self, user: &str) -> io::Result<Option<PathBuf>> {
        let permit = Arc::clone(&self.questions).acquire_owned().await;
        let (lookup, folder, user) = (self.lookup, self.settings.folder.clone(), user.to_owned());
        disk::blocking(move || {
            let _permit = permit;
            let Some(home) = lookup(&user)? else {
                return Ok(None);
            };
            Ok(home.join(folder).join(".").is_dir().then_some(home))
        })
        .await
    }
}

/// What the system's database of users says.
fn home(user: &str) -> io::Result<Option<PathBuf>> {
    let found = User::from_name(user)?;
    let found = found.filter(|user| !user.uid.is_root() && user.dir.is_absolute());
    Ok(found.map(|user| user.dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(folder: &str, allow: Option<&[&str]>, deny: &[&str]) -> Homes {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let settings = Settings {
            folder: folder.into(),
            allow_users: allow.map(names),
            deny_users: names(deny),
            files: documents::Settings {
                url: "/".to_owned(),
                path: "/".into(),
                folder: PathBuf::new(),
                links: documents::Links::Owner,
                index: Vec::new(),
                listing: false,
                hidden: false,
                fallback: documents::Fallback::NotFound,
                cache_control: String::new(),
                headers: Vec::new(),
                types: Vec::new(),
                charset: String::new(),
            },
            rule: Rule::default(),
        };
        Homes {
            lookup: |user| match user {
                "error" => Err(io::Error::other("no database")),
                "none" => Ok(None),
                _ => Ok(Some(std::env::temp_dir())),
            },
            ..Homes::new(settings, &Disks::default())
        }
    }

    #[test]
    fn a_path_names_a_user() {
        for (target, user) in [
            ("/~alice/", Some("alice")),
            ("/~alice", Some("alice")),
            ("/%7ealice/x?y", Some("alice")),
            ("/~alic%65/x", Some("alice")),
            ("http://h/~a.b-c/x", Some("a.b-c")),
            ("/~", None),
            ("/~/x", None),
            ("/~-x/", None),
            ("/~a%20b/", None),
            ("/~a%2fb/", None),
            ("/x/~alice/", None),
            ("//~alice/", None),
            ("/x/../~alice/", None),
            ("/alice/", None),
        ] {
            let head = RequestHead::new("GET", target, &[]);
            assert_eq!(Homes::user(&head).as_deref(), user, "{target}");
        }
        let long = format!("/~{}/", "x".repeat(LONGEST + 1));
        assert_eq!(Homes::user(&RequestHead::new("GET", &long, &[])), None);
    }

    /// Protects: users that have no directory, that may have none, and that there are not can't be told apart; the system is not
    /// asked again at once.
    #[tokio::test]
    async fn users_have_directories() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        std::fs::write(folder.path().join("x"), "x").unwrap();
        let status = async |homes: &Homes, user: &str| {
            let head = RequestHead::new("GET", &format!("/~{user}/x"), &[]);
            homes.answer(user, &head).await.head.status
        };
        let all = homes(name, None, &["denied"]);
        for (user, expected) in [
            ("alice", 200),
            ("denied", 404),
            ("none", 404),
            ("error", 404),
        ] {
            assert_eq!(status(&all, user).await, expected, "{user}");
        }
        assert_eq!(all.known.borrow().len(), 2, "alice and none");
        let some = homes(name, Some(&["bob"]), &[]);
        assert_eq!(status(&some, "bob").await, 200);
        assert_eq!(status(&some, "alice").await, 404);
        let elsewhere = homes("no-such-folder", None, &[]);
        assert_eq!(status(&elsewhere, "alice").await, 404);
    }
}
