//! The kernel command line.

use std::fmt;

use thiserror::Error;

/// A kernel command line: any bytes but NUL, which ends it in memory.
///
/// Kernels split it at spaces and treat letters beyond ASCII as opaque (Linux,
/// Documentation/admin-guide/kernel-parameters.rst), so UTF-8 goes through as it is. How long it may be, the
/// loader knows.
///
/// ```
/// use strata_boot::Cmdline;
///
/// let mut cmdline = Cmdline::new("console=ttyS0")?;
/// cmdline.push("quiet")?;
/// assert_eq!(cmdline.as_bytes(), b"console=ttyS0 quiet");
/// assert!(Cmdline::new("init=/bin/sh\0").is_err());
/// # Ok::<(), strata_boot::CmdlineError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Cmdline(Vec<u8>);

/// Why bytes are no command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CmdlineError {
    /// There is a NUL among them, and the kernel would never see what follows.
    #[error("the command line has a NUL at byte {at}: leave it out")]
    Nul {
        /// Where, counted from 0.
        at: usize,
    },
}

impl Cmdline {
    /// A command line of these bytes.
    ///
    /// # Errors
    /// Each case of [`CmdlineError`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, CmdlineError> {
        let bytes = bytes.into();
        match bytes.iter().position(|byte| *byte == 0) {
            Some(at) => Err(CmdlineError::Nul { at }),
            None => Ok(Self(bytes)),
        }
    }

    /// Appends a parameter, with a space before it unless it is the first.
    ///
    /// # Errors
    /// Each case of [`CmdlineError`]; the command line stays as it was.
    pub fn push(&mut self, parameter: &str) -> Result<(), CmdlineError> {
        let Self(parameter) = Self::new(parameter)?;
        if !self.0.is_empty() && !parameter.is_empty() {
            self.0.push(b' ');
        }
        self.0.extend(parameter);
        Ok(())
    }

    /// The bytes, without the NUL they end with in memory.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it lies in memory: with its NUL.
    pub(crate) fn to_bytes_with_nul(&self) -> Vec<u8> {
        [self.as_bytes(), b"\0"].concat()
    }
}

impl fmt::Debug for Cmdline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cmdline({:?})", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for Cmdline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
#[path = "cmdline_test.rs"]
mod tests;
