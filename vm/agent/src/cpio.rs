//! The initramfs, an archive in cpio's `newc` format.
//!
//! The crate `cpio` would take a call for each of the same thirteen fields.

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An initramfs that holds the agent as `/init`, the directories it mounts
/// things on, and the console the kernel opens for it.
pub fn initramfs(agent_binary: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    for name in ["dev", "proc", "sys", "root"] {
        archive.add(name, DIRECTORY, (0, 0), &[]);
    }
    archive.add("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    archive.add("init", PROGRAM, (0, 0), agent_binary);
    archive.finish()
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.entries += 1;
        self.entry(self.entries, name, mode, device, data);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry(0, "TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, inode: u32, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let size = u32::try_from(data.len()).expect("an agent smaller than 4 GiB");
        // Inode, mode, owner, group, links, time, size, the device it is on,
        // the device it is, length of the name with its NUL, no checksum. No
        // times and owners, so that equal agents give equal archives.
        let fields = [
            inode,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(data);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode, device and data of each entry.
    type Entry = (String, u32, (u32, u32), Vec<u8>);

    fn parse(archive: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut offset = 0;
        loop {
            let header = &archive[offset..offset + 110];
            assert_eq!(&header[..6], b"070701");
            let field = |index: usize| {
                let digits = &header[6 + index * 8..][..8];
                u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let name_end = offset + 110 + field(11) as usize;
            let name = std::str::from_utf8(&archive[offset + 110..name_end - 1]).unwrap();
            assert_eq!(archive[name_end - 1], 0);
            let data = name_end.next_multiple_of(4);
            let end = data + field(6) as usize;
            if name == "TRAILER!!!" {
                assert_eq!(end.next_multiple_of(4), archive.len());
                return entries;
            }
            let device = (field(9), field(10));
            entries.push((name.into(), field(1), device, archive[data..end].to_vec()));
            offset = end.next_multiple_of(4);
        }
    }

    #[test]
    fn holds_what_the_kernel_needs_to_start_the_agent() {
        for agent in [&b""[..], b"a", b"ELF", b"four", b"fives"] {
            let dir = |name: &str| (name.to_owned(), 0o040_755, (0, 0), Vec::new());
            let expected = [
                dir("dev"),
                dir("proc"),
                dir("sys"),
                dir("root"),
                ("dev/console".into(), 0o020_600, (5, 1), Vec::new()),
                ("init".into(), 0o100_755, (0, 0), agent.to_vec()),
            ];
            assert_eq!(parse(&initramfs(agent)), expected);
        }
    }

    #[test]
    fn has_the_bytes_of_the_format() {
        let archive = initramfs(b"agent");
        let first = concat!(
            "070701",
            "00000001",
            "000041ED",
            "00000000",
            "00000000",
            "00000002",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000004",
            "00000000",
            "dev\0\0\0",
        );
        assert_eq!(&archive[..first.len()], first.as_bytes());
        assert_eq!(archive.len() % 4, 0);
    }
}
