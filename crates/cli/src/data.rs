//! The data folder: who has it, what lies where, and the secret. It must never be used by two processes.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use tempfile::TempDir;
use uuid::Uuid;

use crate::access::read_secret;

/// Where the secret lies in it.
pub(crate) const SECRET: &str = "secret";

/// A folder that only this process uses, as long as this lives.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: File,
    _ephemeral: Option<TempDir>,
}

impl DataFolder {
    /// Takes a folder, which is made if it is missing.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        Self::lock(path, None)
    }

    /// Takes a folder that is there, without changing anything in it; none, where a process has it.
    pub(crate) fn borrow(path: &Path) -> anyhow::Result<Option<Self>> {
        let path = path.canonicalize().with_context(|| format!("there is no data folder {}: name another with --data", path.display()))?;
        let lock = File::open(path.join("lock"));
        let lock = lock.with_context(|| format!("{} is no data folder of millrace: name another with --data", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path, _lock: lock, _ephemeral: None })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(anyhow!(error)).with_context(|| format!("{} cannot be locked", path.display())),
        }
    }

    /// Takes a folder that goes when this is dropped.
    pub(crate) fn ephemeral() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("millrace-").tempdir().context("no temporary folder can be made")?;
        let path = folder.path().to_owned();
        Self::lock(&path, Some(folder))
    }

    fn lock(path: &Path, ephemeral: Option<TempDir>) -> anyhow::Result<Self> {
        let unwritable = || format!("the data folder {} cannot be written: choose another with --data", path.display());
        for folder in ["models", "state"] {
            fs::create_dir_all(path.join(folder)).with_context(unwritable)?;
        }
        let path = path.canonicalize().with_context(unwritable)?;
        let lock = File::create(path.join("lock")).with_context(unwritable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock, _ephemeral: ephemeral }),
            Err(TryLockError::WouldBlock) => {
                bail!("another millrace uses the data folder {}: stop it, or choose another with --data", path.display())
            }
            Err(TryLockError::Error(error)) => Err(anyhow!(error)).with_context(unwritable),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Read models.
    pub(crate) fn models(&self) -> PathBuf {
        self.path.join("models")
    }

    /// Services' snapshots.
    pub(crate) fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// The secret of this folder, which is made at the first time and readable by its owner only.
    pub(crate) fn secret(&self) -> anyhow::Result<Vec<u8>> {
        let path = self.path.join(SECRET);
        let mut options = File::options();
        match options.write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
                file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).context("the secret cannot be written")?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).context("the secret cannot be written"),
        }
        read_secret(&path)
    }
}
