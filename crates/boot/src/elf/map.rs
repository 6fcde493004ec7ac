//! From segments to what the page tables have to map.

use strata_cpu::{Access, Mapping, PageSize};

use super::ElfError;
use super::header::Segment;
use crate::enter::FIRST_4G;

const PAGE: u64 = PageSize::Size4K.bytes();

/// The segments' own mappings, then as much of the first 4 GiB as they leave.
pub(super) fn of(segments: &[Segment<'_>]) -> Result<Vec<Mapping>, ElfError> {
    let mut own = Vec::new();
    for segment in segments {
        own.extend(own_mapping(segment)?);
    }
    own.sort_unstable_by_key(|mapping: &Mapping| mapping.virt);
    // Segments of one file are often neighbours inside a page: one mapping then, if they agree on where it
    // leads.
    own.dedup_by(|next, mapping| {
        let gap = next.virt - mapping.virt;
        let joins = gap <= mapping.len && mapping.phys.checked_add(gap) == Some(next.phys);
        if joins {
            mapping.len = mapping.len.max(gap + next.len);
        }
        joins
    });
    let mut map = identity_around(&own);
    map.splice(0..0, own);
    Ok(map)
}

/// What a segment needs that the identity map does not give: whole pages around it.
fn own_mapping(segment: &Segment<'_>) -> Result<Option<Mapping>, ElfError> {
    let Segment { index, virt, phys, memory_size, .. } = *segment;
    let overflow = ElfError::AddressOverflow { index, virt, memory_size };
    let Some(last) = virt.checked_add(memory_size - 1) else {
        return Err(overflow);
    };
    if virt == phys && last < FIRST_4G.len {
        return Ok(None);
    }
    let into_page = virt % PAGE;
    if into_page != phys % PAGE {
        return Err(ElfError::Misaligned { index, virt, phys });
    }
    let len = (last | (PAGE - 1)).wrapping_sub(virt - into_page).wrapping_add(1);
    Ok(Some(Mapping {
        virt: virt - into_page,
        phys: phys - into_page,
        len,
        page: PageSize::Size4K,
        access: Access::RWX,
    }))
}

/// The first 4 GiB without the 2 MiB pages that `own`, sorted, touches.
fn identity_around(own: &[Mapping]) -> Vec<Mapping> {
    let page = FIRST_4G.page.bytes();
    let mut map = Vec::new();
    let mut push = |from: u64, to: u64| {
        if from < to {
            map.push(Mapping { virt: from, phys: from, len: to - from, ..FIRST_4G });
        }
    };
    let mut from = 0;
    for mapping in own.iter().take_while(|mapping| mapping.virt < FIRST_4G.len) {
        push(from, mapping.virt / page * page);
        from = from.max(mapping.virt.saturating_add(mapping.len).next_multiple_of(page));
    }
    push(from, FIRST_4G.len);
    map
}

#[cfg(test)]
#[path = "map_test.rs"]
mod tests;
