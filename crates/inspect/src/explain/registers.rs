//! A processor's registers as a block of lines.

use std::fmt::Write as _;

use strata_cpu::{Mode, X86State};

/// The general registers, RIP, RFLAGS, CR2 and CR3, in columns; four to a line in 64-bit mode, eight registers in all in the
/// other modes, which have no more.
pub(super) fn lines(state: &X86State) -> Vec<String> {
    let general = state.regs.general();
    let is_long = state.mode() == Mode::Long64;
    let (count, digits) = if is_long { (16, 16) } else { (8, 8) };
    let rest = [("rip", state.regs.rip), ("cr2", state.cr2), ("cr3", state.cr3)];
    let shown: Vec<_> = general.into_iter().take(count).chain(rest).collect();
    let mut lines: Vec<_> = shown
        .chunks(4)
        .map(|row| {
            let row: Vec<_> =
                row.iter().map(|(name, value)| format!("{name:<3} {value:0digits$x}")).collect();
            row.join("  ")
        })
        .collect();
    if let Some(last) = lines.last_mut() {
        let _ = write!(last, "  rflags {:08x}", state.regs.rflags.bits());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_stand_in_columns() {
        let mut state = X86State::long(0x10_0000, 0x9000, 0);
        (state.regs.rax, state.regs.r9, state.cr2) = (0x1c, u64::MAX, 0x1234);
        let lines = lines(&state);
        assert_eq!(lines.len(), 5);
        assert!(lines[..4].iter().all(|line| line.len() == lines[0].len()), "{lines:?}");
        assert!(lines[0].starts_with("rax 000000000000001c  rbx 0"), "{lines:?}");
        assert!(lines[2].contains("r9  ffffffffffffffff"), "{lines:?}");
        let last = "rip 0000000000100000  cr2 0000000000001234  cr3 0000000000009000  rflags 00000002";
        assert_eq!(lines[4], last);
    }

    #[test]
    fn sixteen_bit_code_has_eight_registers() {
        let lines = lines(&X86State::real(0x7c00));
        assert_eq!(lines.len(), 3);
        assert!(lines[2].starts_with("rip 00007c00"), "{lines:?}");
    }
}
