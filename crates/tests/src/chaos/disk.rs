//! Disks of a campaign's own, each an ext4 file system in a file: they can be full, and they can lose
//! what was not synced. This module must never know what lies on them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

/// Large enough for a campaign of half an hour; the file is sparse.
const DISK_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// A busy file system is asked again to go, this often and after this pause.
const UNMOUNT_TRIES: u32 = 100;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(50);
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, from the kernel's `fs/ext4/ext4.h`: nothing
/// more reaches the disk, the journal included. Python makes the call, which would be `unsafe` here.
const CUT_POWER: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// Whether there is what cuts the power.
pub fn can_cut_power() -> bool {
    Command::new("python3").args(["-c", "import fcntl"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A disk, or a plain folder where this machine does not let us make one.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    image: Option<PathBuf>,
}

impl Disk {
    /// Makes one named `name` in `folder`.
    ///
    /// # Errors
    /// Where not even a folder can be made.
    pub fn create(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let (image, folder) = (folder.join(format!("{name}.ext4")), folder.join(name));
        fs::create_dir_all(&folder)?;
        File::create(&image)?.set_len(DISK_BYTES)?;
        let made = run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image)).and_then(|()| mount(&image, &folder));
        if made.is_err() {
            fs::remove_file(&image)?;
        }
        Ok(Self { folder, image: made.is_ok().then_some(image) })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it is one, and not just a folder.
    #[must_use]
    pub const fn is_real(&self) -> bool {
        self.image.is_some()
    }

    /// Takes all room that is left.
    ///
    /// # Errors
    /// Where that fails.
    pub fn fill(&self) -> anyhow::Result<()> {
        ensure!(self.is_real(), "never the disk of the machine");
        let ballast = File::create(self.ballast())?;
        let mut at = 0;
        for step in [1 << 26, 1 << 20, 1 << 12] {
            while rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), at, step).is_ok() {
                at += step;
            }
        }
        Ok(())
    }

    /// Gives it back, so that no power cut takes it again.
    ///
    /// # Errors
    /// Where that fails.
    pub fn free(&self) -> anyhow::Result<()> {
        fs::remove_file(self.ballast())?;
        Ok(File::open(&self.folder)?.sync_all()?)
    }

    /// From here on no byte reaches it.
    ///
    /// # Errors
    /// Where the kernel does not do that.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        ensure!(self.is_real(), "never the disk of the machine");
        run(Command::new("python3").args(["-c", CUT_POWER]).arg(&self.folder))
    }

    /// Mounts it again, once nobody has a file of it open.
    ///
    /// # Errors
    /// Where it does not come back.
    pub fn plug_in_again(&self) -> anyhow::Result<()> {
        self.unmount()?;
        mount(self.image.as_deref().context("a real disk")?, &self.folder)
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    fn unmount(&self) -> anyhow::Result<()> {
        let mut tries = 0;
        while let Err(error) = run(Command::new("umount").arg(&self.folder)) {
            tries += 1;
            ensure!(tries < UNMOUNT_TRIES, error);
            std::thread::sleep(UNMOUNT_PAUSE);
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_real() && self.unmount().is_err() {
            eprintln!("{} is still mounted", self.folder.display());
        }
    }
}

fn mount(image: &Path, folder: &Path) -> anyhow::Result<()> {
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(folder))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
