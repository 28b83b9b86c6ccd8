//! CPU seconds of every process that takes part, as the kernel counts them. This module must never
//! know what a process is for.

use std::{collections::BTreeMap, fs};

use anyhow::Context as _;
use rustix::param::clock_ticks_per_second;

/// Where in `/proc/<pid>/stat`, counted from behind the program's name, the parent stands, and user, system,
/// children's user and children's system time.
const PARENT: usize = 1;
const TIMES: [usize; 4] = [11, 12, 13, 14];

/// CPU seconds by what the processes are called.
pub type CpuSeconds = BTreeMap<String, f64>;

/// A group of processes whose time is counted together.
#[derive(Debug, Clone)]
pub struct Group {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// These and all that descends from them, those that ended meanwhile included.
    Trees(Vec<u32>),
    /// This process without those that it started, except those that it started and that ended meanwhile.
    Own,
}

impl Group {
    /// Processes and all that descends from them.
    #[must_use]
    pub fn trees(name: &str, pids: &[u32]) -> Self {
        Self { name: name.to_owned(), kind: Kind::Trees(pids.to_vec()) }
    }

    /// This process, and load clients that it starts and that end while it watches. No server may be
    /// ended meanwhile, or its time would count here.
    #[must_use]
    pub fn load_client() -> Self {
        Self { name: "load client".to_owned(), kind: Kind::Own }
    }

    fn ticks(&self) -> anyhow::Result<u64> {
        let stats = match &self.kind {
            Kind::Trees(roots) => trees(roots)?,
            Kind::Own => vec![Stat::of(std::process::id())?],
        };
        Ok(stats.iter().map(|stat| stat.ticks).sum())
    }
}

/// Counts from when it was made.
#[derive(Debug)]
pub struct CpuWatch {
    before: Vec<(Group, u64)>,
}

impl CpuWatch {
    /// Begins to count.
    ///
    /// # Errors
    /// Where a process has ended.
    pub fn start(groups: Vec<Group>) -> anyhow::Result<Self> {
        let before = groups.into_iter().map(|group| group.ticks().map(|ticks| (group, ticks)));
        Ok(Self { before: before.collect::<anyhow::Result<_>>()? })
    }

    /// Counts a group as well that was started meanwhile, from its start on.
    pub fn add_started(&mut self, group: Group) {
        self.before.push((group, 0));
    }

    /// What each group has used since.
    ///
    /// # Errors
    /// Where a process has ended.
    pub fn stop(&self) -> anyhow::Result<CpuSeconds> {
        let used = |(group, before): &(Group, u64)| {
            let ticks = group.ticks()?.saturating_sub(*before);
            Ok((group.name.clone(), seconds(ticks)))
        };
        self.before.iter().map(used).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a run are far below 2^53")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

/// What the kernel says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} has ended"))?;
        Self::parse(&text).with_context(|| format!("/proc/{pid}/stat: {text}"))
    }

    fn parse(text: &str) -> Option<Self> {
        // A program's name may hold blanks and parentheses.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let ticks = TIMES.iter().map(|index| number(*index)).sum::<Option<u64>>()?;
        Some(Self { parent: u32::try_from(number(PARENT)?).ok()?, ticks })
    }
}

/// The processes below `roots` and these; the roots must live, the others may end at any moment.
fn trees(roots: &[u32]) -> anyhow::Result<Vec<Stat>> {
    let mut all: BTreeMap<u32, Stat> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Ok(stat) = Stat::of(pid) {
            all.insert(pid, stat);
        }
    }
    let mut waiting = roots.to_vec();
    let mut found = Vec::new();
    while let Some(pid) = waiting.pop() {
        waiting.extend(all.iter().filter(|(_, stat)| stat.parent == pid).map(|(child, _)| *child));
        match all.remove(&pid) {
            Some(stat) => found.push(stat),
            None if roots.contains(&pid) => anyhow::bail!("process {pid} has ended"),
            None => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let text = "42 (a ) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(Stat::parse(text), Some(Stat { parent: 7, ticks: 127 }));
        assert_eq!(Stat::parse("42 (a) S 7"), None);
    }

    #[test]
    fn work_of_this_process_is_counted() {
        let own = Group { name: "own".to_owned(), kind: Kind::Own };
        let watch = CpuWatch::start(vec![own]).expect("lives");
        let since = std::time::Instant::now();
        let mut sum = 0u64;
        while watch.stop().expect("lives")["own"] < 0.05 && since.elapsed().as_secs() < 60 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(watch.stop().expect("lives")["own"] >= 0.05);
    }
}
