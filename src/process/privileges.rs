//! The user and the groups that the server runs as, and how root's rights are given up for good.

use std::ffi::CString;
use std::io::{self, Read, Write};

use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgrouplist, getgroups, setgroups, setresgid,
    setresuid,
};

use super::error::{Account, Error, Kind};
use super::fork::{self, Forked};

/// The user and groups that the server will run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: Uid,
    gid: Gid,
    /// Supplementary groups.
    groups: Vec<Gid>,
}

impl Identity {
    /// Looks a user and groups up; names or numbers. The first group is the primary one. Without groups they are
    /// the user's own, without a user only the groups change.
    ///
    /// # Errors
    /// One sentence that names the option: the user or group does not exist, or only root can take it.
    pub fn find(user: Option<&str>, groups: &[String]) -> Result<Identity, Error> {
        let own = user.map(|name| find_user("user", name)).transpose()?;
        let mut wanted = Vec::with_capacity(groups.len());
        for name in groups {
            wanted.push(gid("group", name)?);
        }
        let gid = match (wanted.first(), &own) {
            (Some(gid), _) => *gid,
            (None, Some(Found::User(user))) => user.gid,
            (None, Some(Found::Number(uid))) => {
                return Err(Error::NoGroup(*uid));
            }
            (None, None) => getegid(),
        };
        if let (true, Some(Found::User(user))) = (groups.is_empty(), &own) {
            let groups = CString::new(user.name.as_str()).map_err(io::Error::from);
            let groups = groups.and_then(|name| Ok(getgrouplist(&name, gid)?));
            wanted = groups.map_err(Error::Groups)?;
        }
        let identity = Identity {
            uid: own.as_ref().map_or_else(geteuid, Found::uid),
            gid,
            groups: wanted,
        };
        if !geteuid().is_root() {
            if let (Some(user), true) = (user, identity.uid != geteuid()) {
                return Err(Error::NotRoot(account("user", user, Kind::User)));
            }
            let own = getgroups().unwrap_or_default();
            let is_own = |gid: &Gid| *gid == getegid() || own.contains(gid);
            if let (Some(group), true) = (
                groups.first(),
                gid != getegid() || !identity.groups.iter().all(is_own),
            ) {
                return Err(Error::NotRoot(account("group", group, Kind::Group)));
            }
        }
        Ok(identity)
    }

    /// The user and the primary group.
    pub fn ids(&self) -> (Uid, Gid) {
        (self.uid, self.gid)
    }

    /// Whether it can do what `check` does, which is tried in a child that has become it. The child ends with that.
    ///
    /// # Errors
    /// What `check` says, or the system.
    pub fn can(&self, check: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if !geteuid().is_root() || self.uid.is_root() {
            return check();
        }
        let (mut answer, mut word) = io::pipe()?;
        // SAFETY: the child tries the check, says its result and leaves; what other threads of this process hold it does not use.
        match unsafe { fork::fork() }? {
            Forked::Child => {
                let result = self.take().and_then(|()| check());
                let code =
                    result.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0);
                let _ = word.write_all(&code.to_ne_bytes());
                fork::leave(0)
            }
            Forked::Parent(pid) => {
                drop(word);
                let mut code = [0; 4];
                let read = answer.read_exact(&mut code);
                while waitpid(pid, None) == Err(Errno::EINTR) {}
                read?;
                match i32::from_ne_bytes(code) {
                    0 => Ok(()),
                    code => Err(io::Error::from_raw_os_error(code)),
                }
            }
        }
    }

    /// Becomes it, for good. For a process without root's rights there is nothing left to do.
    ///
    /// The kernel takes PR_SET_PDEATHSIG away with the rights: [`super::fork::die_with`] is to be said again.
    ///
    /// # Errors
    /// What the kernel says, or that root's rights could be had back.
    pub fn take(&self) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        // In this order: each step needs rights that the next takes away.
        setgroups(&self.groups)?;
        setresgid(self.gid, self.gid, self.gid)?;
        setresuid(self.uid, self.uid, self.uid)?;
        let root = Uid::from_raw(0);
        if !self.uid.is_root() && setresuid(root, root, root).is_ok() {
            return Err(io::Error::other("root's rights could be had back"));
        }
        Ok(())
    }
}

/// A user as named, or a number that no entry of the password file has: containers run as such.
enum Found {
    User(User),
    Number(Uid),
}

impl Found {
    fn uid(&self) -> Uid {
        match self {
            Found::User(user) => user.uid,
            Found::Number(uid) => *uid,
        }
    }
}

fn account(option: &str, name: &str, kind: Kind) -> Account {
    Account {
        option: option.to_owned(),
        name: name.to_owned(),
        kind,
    }
}

fn find_user(option: &str, name: &str) -> Result<Found, Error> {
    let account = || account(option, name, Kind::User);
    let failed = |error| Error::LookUp(account(), error);
    if let Some(user) = User::from_name(name).map_err(failed)? {
        return Ok(Found::User(user));
    }
    match name.parse().map(Uid::from_raw) {
        Ok(uid) => Ok(match User::from_uid(uid).map_err(failed)? {
            Some(user) => Found::User(user),
            None => Found::Number(uid),
        }),
        Err(_) => Err(Error::Unknown(account())),
    }
}

/// The number of a user that an option names.
///
/// # Errors
/// One sentence that names the option when there is no such user.
pub fn uid(option: &str, name: &str) -> Result<Uid, Error> {
    Ok(find_user(option, name)?.uid())
}

/// The number of a group that an option names.
///
/// # Errors
/// One sentence that names the option when there is no such group.
pub fn gid(option: &str, name: &str) -> Result<Gid, Error> {
    let account = || account(option, name, Kind::Group);
    let found = Group::from_name(name);
    match found.map_err(|error| Error::LookUp(account(), error))? {
        Some(group) => Ok(group.gid),
        None => match name.parse() {
            Ok(gid) => Ok(Gid::from_raw(gid)),
            Err(_) => Err(Error::Unknown(account())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let root = Uid::from_raw(0);
        assert_eq!(uid("user", "root").unwrap(), root);
        assert_eq!(uid("user", "0").unwrap(), root);
        assert_eq!(uid("user", "4000000000").unwrap().as_raw(), 4_000_000_000);
        assert_eq!(gid("group", "root").unwrap().as_raw(), 0);
        let error = uid("unix_socket_owner", "nobody-at-all").unwrap_err();
        assert_eq!(
            error.to_string(),
            "option 'unix_socket_owner': there is no user 'nobody-at-all'"
        );
        assert!(gid("group", "-1").is_err());
    }

    #[test]
    fn a_number_without_an_entry_needs_a_group() {
        let error = Identity::find(Some("4000000000"), &[]).unwrap_err();
        assert!(error.to_string().contains("'group'"), "{error}");
        if geteuid().is_root() {
            let groups = ["4000000001".to_owned(), "4000000002".to_owned()];
            let identity = Identity::find(Some("4000000000"), &groups).unwrap();
            assert_eq!(identity.gid.as_raw(), 4_000_000_001);
            assert_eq!(identity.groups.len(), 2);
        }
    }

    #[test]
    fn only_root_becomes_another() {
        let found = Identity::find(Some("nobody"), &[]);
        assert_eq!(found.is_ok(), geteuid().is_root());
        if let Ok(nobody) = found {
            assert!(!nobody.groups.contains(&Gid::from_raw(0)), "{nobody:?}");
        }
        Identity::find(None, &[]).unwrap();
    }

    /// Protects: what only root may do is not taken for what the server's user may.
    #[test]
    fn what_a_user_can_do_is_tried_as_that_user() {
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let nobody = Identity::find(Some("nobody"), &[]).unwrap();
        let error = nobody.can(|| std::fs::write(&file, "x")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        nobody.can(|| Ok(())).unwrap();
        assert!(geteuid().is_root());
        let root = Identity::find(Some("root"), &[]).unwrap();
        root.can(|| std::fs::write(&file, "x")).unwrap();
        assert!(file.exists());
    }
}
