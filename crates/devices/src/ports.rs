//! Which range a port belongs to, without a search.

/// Ports by their high and their low byte: two loads, however many devices there are. A binary search takes about ten
/// instructions for each of its steps.
#[derive(Clone)]
pub(crate) struct Ports {
    /// For each high byte, which table its ports are in.
    tables: [u16; 256],
    /// For each low byte, one more than the index of its range, or 0 for none. The first table stays empty: it is that of
    /// the many high bytes without a device.
    indexes: Vec<[u32; 256]>,
}

impl Ports {
    pub(crate) fn new() -> Self {
        // Room for as many as a PC has in use.
        let mut indexes = Vec::with_capacity(8);
        indexes.push([0; 256]);
        Self { tables: [0; 256], indexes }
    }

    /// The ranges from `index` on get the next index each.
    pub(crate) fn move_up(&mut self, index: usize) {
        for number in self.indexes.iter_mut().flatten().filter(|number| **number as usize > index) {
            *number += 1;
        }
    }

    /// The range at `index` has the ports `first` to `last`.
    pub(crate) fn set_range(&mut self, index: usize, first: u16, last: u16) {
        // Ranges of ports are disjoint: there are at most 65,536.
        let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        for port in first..=last {
            self.set(port, number);
        }
    }

    fn set(&mut self, port: u16, number: u32) {
        let [high, low] = port.to_be_bytes().map(usize::from);
        let Some(table) = self.tables.get_mut(high) else { return };
        if *table == 0 {
            // At most one for each high byte, beside the first.
            *table = u16::try_from(self.indexes.len()).unwrap_or(0);
            self.indexes.push([0; 256]);
        }
        let table = self.indexes.get_mut(usize::from(*table));
        if let Some(entry) = table.and_then(|table| table.get_mut(low)) {
            *entry = number;
        }
    }

    /// The index of the range at `port`.
    #[inline]
    pub(crate) fn find(&self, port: u16) -> Option<usize> {
        let [high, low] = port.to_be_bytes().map(usize::from);
        let table = self.indexes.get(usize::from(*self.tables.get(high)?))?;
        (*table.get(low)? as usize).checked_sub(1)
    }
}
