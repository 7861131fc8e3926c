//! A module's file as a linker would leave it, for whoever reads line tables
//! and does no linking: the kernel does that when it loads the module.

use std::borrow::Cow;
use std::ops::Range;

use object::{
    File, Object, ObjectKind, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget,
    SectionIndex,
};

/// Where a section's code would be: each has a place of its own, so that an
/// address says which it is of. In a file that is linked the addresses are so
/// already.
pub(super) fn base(file: &File<'_>, section: Option<SectionIndex>) -> u64 {
    match (file.kind(), section) {
        (ObjectKind::Relocatable, Some(section)) => (section.0 as u64) << 32,
        _ => 0,
    }
}

/// The file with what its line tables say of addresses filled in; as it is if
/// it is linked.
pub(super) fn linked(bytes: &[u8]) -> object::Result<Cow<'_, [u8]>> {
    let file = File::parse(bytes)?;
    if file.kind() != ObjectKind::Relocatable {
        return Ok(bytes.into());
    }
    let mut out = bytes.to_vec();
    for section in file.sections() {
        let Some((start, _)) = section.file_range().filter(|_| is_debug(&section)) else {
            continue;
        };
        for (offset, relocation) in section.relocations() {
            let value = match (relocation.kind(), relocation.target()) {
                (RelocationKind::Absolute, RelocationTarget::Symbol(index)) => {
                    let symbol = file.symbol_by_index(index)?;
                    let within = symbol.section_index();
                    let target = within.and_then(|index| file.section_by_index(index).ok());
                    // Of each other these sections say offsets, not addresses.
                    let at = match target.is_some_and(|target| is_debug(&target)) {
                        true => 0,
                        false => base(&file, within),
                    };
                    at.wrapping_add(symbol.address())
                        .wrapping_add_signed(relocation.addend())
                }
                _ => continue,
            };
            let at = (start + offset) as usize;
            let bytes = usize::from(relocation.size() / 8).min(8);
            let range: Range<usize> = at..at + bytes;
            if let Some(place) = out.get_mut(range) {
                place.copy_from_slice(&value.to_le_bytes()[..bytes]);
            }
        }
    }
    Ok(out.into())
}

fn is_debug<'a>(section: &impl ObjectSection<'a>) -> bool {
    section.name().is_ok_and(|name| name.starts_with(".debug"))
}
