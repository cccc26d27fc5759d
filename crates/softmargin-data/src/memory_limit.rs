//! The memory that decoded samples may take; larger sets are streamed.

/// Decoded samples may take one part in so many of the machine's memory.
const PART: u64 = 4;
/// The limit where the memory of the machine is unknown, in bytes.
const FALLBACK: u64 = 2 << 30;

/// Returns the default limit in bytes: a quarter of the machine's memory.
pub(crate) fn default_limit() -> u64 {
    machine().map_or(FALLBACK, |bytes| bytes / PART)
}

/// Returns the memory of the machine in bytes, or the limit of the process's control group where that is less.
fn machine() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let total = read("/proc/meminfo").and_then(|text| total(&text))?;
    let group = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    Some(group.map_or(total, |group: u64| group.min(total)))
}

/// Bytes, from a line such as `MemTotal:       24565432 kB`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_and_nonsense_is_not() {
        assert_eq!(total("MemTotal:       24565432 kB\nMemFree: 1 kB\n"), Some(24_565_432 * 1024));
        for text in ["", "MemFree: 1 kB", "MemTotal: much kB", "MemTotal: 99999999999999999999 kB", "MemTotal: 1 MB"] {
            assert_eq!(total(text), None, "{text}");
        }
    }

    #[test]
    fn there_is_always_a_limit() {
        assert!(default_limit() > 1 << 20);
    }
}
