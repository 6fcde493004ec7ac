//! Named ranges of addresses, none of which overlap.

use super::{MAX_SYMBOLS, Symbol, SymbolError, name};

/// All names together, in bytes.
const MAX_NAMES: usize = 64 << 20;

/// Ranges by ascending address.
#[derive(Debug, Default)]
pub(super) struct Table {
    ranges: Vec<Range>,
    starts: Vec<Named>,
    names: String,
}

/// Where a symbol begins, and its name's place in [`Table::names`].
#[derive(Clone, Copy, Debug)]
struct Named {
    addr: u64,
    name: (u32, u32),
}

/// `start..=last` belongs to a symbol.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    last: u64,
    named: u32,
}

/// A symbol as an image tells of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) name: &'a [u8],
    pub(super) addr: u64,
    /// The address behind it, if its size is known.
    pub(super) end: Option<u64>,
    /// The address behind what it can be in at most.
    pub(super) bound: u64,
    /// Of two with one address the higher is shown.
    pub(super) rank: u8,
}

/// Collects symbols.
#[derive(Debug, Default)]
pub(super) struct Builder<'a>(Vec<Raw<'a>>);

impl<'a> Builder<'a> {
    /// Adds one, unless it has no name or no room.
    pub(super) fn push(&mut self, symbol: Raw<'a>) -> Result<(), SymbolError> {
        if symbol.name.is_empty() || symbol.addr >= symbol.bound {
            return Ok(());
        }
        if self.0.len() == MAX_SYMBOLS {
            return Err(SymbolError::TooMany);
        }
        self.0.push(symbol);
        Ok(())
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|symbol| symbol.addr)
    }

    pub(super) fn build(self) -> Result<Table, SymbolError> {
        let mut symbols = self.0;
        // Stable: of two that are alike, the first in the file comes last, and is shown.
        symbols.reverse();
        symbols.sort_by_key(|symbol| (symbol.addr, symbol.rank));
        let mut sweep = Sweep::default();
        let mut next = u64::MAX;
        // Backwards, to know where the next one begins.
        let mut ends = vec![0; symbols.len()];
        let mut above = u64::MAX;
        for (symbol, end) in symbols.iter().zip(&mut ends).rev() {
            if symbol.addr != above {
                (next, above) = (above, symbol.addr);
            }
            *end = symbol.end.unwrap_or(next).min(symbol.bound);
        }
        for (symbol, end) in symbols.iter().zip(ends) {
            let named = sweep.table.name(symbol)?;
            sweep.begin(symbol, end, named);
        }
        sweep.close(u64::MAX);
        Ok(sweep.table)
    }
}

/// Goes through symbols by address; those that have begun and not ended lie on a stack, the innermost on top.
#[derive(Default)]
struct Sweep {
    table: Table,
    open: Vec<Open>,
    at: u64,
}

struct Open {
    end: u64,
    sized: bool,
    named: u32,
}

impl Sweep {
    fn begin(&mut self, symbol: &Raw<'_>, end: u64, named: u32) {
        self.close(symbol.addr);
        let sized = symbol.end.is_some();
        // A label in a function's middle is less telling than the function.
        if sized || !self.open.last().is_some_and(|around| around.sized) {
            self.at = symbol.addr;
            self.open.push(Open { end, sized, named });
        }
    }

    /// Writes down what is open up to `until`, and forgets what ends there.
    fn close(&mut self, until: u64) {
        while let Some(top) = self.open.last() {
            let end = top.end.min(until);
            if self.at < end {
                self.table.ranges.push(Range { start: self.at, last: end - 1, named: top.named });
                self.at = end;
            }
            if top.end > until {
                break;
            }
            self.open.pop();
        }
    }
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn find(&self, addr: u64) -> Option<Symbol<'_>> {
        let above = self.ranges.partition_point(|range| range.start <= addr);
        let range = self.ranges.get(above.checked_sub(1)?).filter(|range| addr <= range.last)?;
        let named = self.starts.get(range.named as usize)?;
        Some(Symbol { name: self.text(named)?, offset: addr - named.addr })
    }

    pub(super) fn address_of(&self, name: &str) -> Option<u64> {
        self.starts.iter().find(|named| self.text(named) == Some(name)).map(|named| named.addr)
    }

    fn text(&self, named: &Named) -> Option<&str> {
        let (start, end) = named.name;
        self.names.get(start as usize..end as usize)
    }

    fn name(&mut self, symbol: &Raw<'_>) -> Result<u32, SymbolError> {
        let too_many = |_| SymbolError::TooMany;
        let start = self.names.len();
        name::push_symbol(&mut self.names, symbol.name);
        let end = self.names.len();
        if end > MAX_NAMES {
            return Err(SymbolError::TooMany);
        }
        let name = (u32::try_from(start).map_err(too_many)?, u32::try_from(end).map_err(too_many)?);
        self.starts.push(Named { addr: symbol.addr, name });
        u32::try_from(self.starts.len() - 1).map_err(too_many)
    }
}
