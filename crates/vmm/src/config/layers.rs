//! A configuration file with single settings over it: what `strata run --config F --memory 64K` means.

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Deserializer};

use super::Config;

/// Why layers do not make a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The file is no TOML, or not of the schema; the message shows where.
    #[error("{0}")]
    File(Box<toml::de::Error>),
    /// A setting names a key inside something that is no table.
    #[error("cannot set {key}: {parent} is no table of the configuration")]
    NotATable {
        /// The setting's key.
        key: String,
        /// The part of it that is something else.
        parent: String,
    },
    /// A setting does not fit the schema.
    #[error("setting {key}: {}", error.message())]
    Setting {
        /// The setting's key.
        key: String,
        /// What the schema says.
        error: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads `file` (TOML) and puts `settings` over it, in order. A setting is a dotted key and a TOML value; a value
    /// that TOML does not understand is taken as a string.
    ///
    /// # Errors
    ///
    /// [`LayerError`], naming the file's place or the setting's key.
    ///
    /// # Examples
    ///
    /// ```
    /// use strata_vmm::Config;
    /// let settings = [("memory.size".to_owned(), "64K".to_owned()), ("cpus".to_owned(), "2".to_owned())];
    /// let config = Config::layered(Some("cpus = 1\nirqchip = \"kernel\""), &settings)?;
    /// assert_eq!((config.cpus, config.memory.size.map(|size| size.0)), (2, Some(65536)));
    /// # Ok::<(), strata_vmm::config::LayerError>(())
    /// ```
    pub fn layered(file: Option<&str>, settings: &[(String, String)]) -> Result<Self, LayerError> {
        let text = file.unwrap_or_default();
        // Read as the schema first: these errors know the line.
        let config = Self::from_toml(text).map_err(|error| LayerError::File(Box::new(error)))?;
        if settings.is_empty() {
            return Ok(config);
        }
        apply(text, settings).map_err(|error| {
            // Which one was it? One that is wrong by itself, or else the last, which did not fit the others.
            let alone = settings.iter().find_map(|setting| apply(text, std::slice::from_ref(setting)).err());
            alone.unwrap_or(error)
        })
    }
}

/// Puts `settings` over `text`. An error names the last of them.
fn apply(text: &str, settings: &[(String, String)]) -> Result<Config, LayerError> {
    let mut table = DeTable::parse(text).map_err(|error| LayerError::File(Box::new(error)))?;
    for (key, value) in settings {
        let value = DeValue::parse(value)
            .unwrap_or_else(|_| Spanned::new(0..value.len(), DeValue::String(value.into())));
        set(table.get_mut(), key, value)?;
    }
    let last = || settings.last().map(|(key, _)| key.clone()).unwrap_or_default();
    Config::deserialize(Deserializer::from(table))
        .map_err(|error| LayerError::Setting { key: last(), error: Box::new(error) })
}

fn set<'a>(table: &mut DeTable<'a>, key: &'a str, value: Spanned<DeValue<'a>>) -> Result<(), LayerError> {
    let mut place = table;
    let mut rest = key;
    while let Some((parent, child)) = rest.split_once('.') {
        let inner =
            place.entry(named(parent)).or_insert_with(|| Spanned::new(0..0, DeValue::Table(DeTable::new())));
        let DeValue::Table(inner) = inner.get_mut() else {
            return Err(LayerError::NotATable { key: key.to_owned(), parent: parent.to_owned() });
        };
        place = inner;
        rest = child;
    }
    place.insert(named(rest), value);
    Ok(())
}

fn named(key: &str) -> Spanned<DeString<'_>> {
    Spanned::new(0..key.len(), key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layered(file: &str, key: &str, value: &str) -> Result<Config, LayerError> {
        Config::layered(Some(file), &[(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_setting_wins_over_the_file_and_makes_tables() {
        assert_eq!(layered("cpus = 1", "cpus", "4").unwrap().cpus, 4);
        assert_eq!(layered("", "debug.breakpoints", "[0x1000, 2]").unwrap().debug.breakpoints, [0x1000, 2]);
        assert_eq!(layered("", "load_at", "0x1000").unwrap().load_at, Some(0x1000));
        assert_eq!(layered("", "image", "no quotes.bin").unwrap().image.as_os_str(), "no quotes.bin");
        assert_eq!(layered("", "registers.rax", "7").unwrap().registers["rax"], 7);
    }

    #[test]
    fn addresses_have_all_64_bits() {
        let top = layered("entry = 0xffff_8000_0000_1000", "load_at", "0xffffffffffffffff").unwrap();
        assert_eq!((top.entry, top.load_at), (Some(0xffff_8000_0000_1000), Some(u64::MAX)));
    }

    #[test]
    fn settings_may_need_each_other() {
        let two = |first: &str, second: &str| {
            let settings = [first, second].map(|text| {
                let (key, value) = text.split_once('=').unwrap();
                (key.to_owned(), value.to_owned())
            });
            Config::layered(None, &settings)
        };
        assert!(two("paging.tables_at=0", "paging.map=[]").unwrap().paging.is_some());
        let said = two("cpus=many", "memory.size=1M").unwrap_err().to_string();
        assert!(said.starts_with("setting cpus:"), "{said}");
    }

    #[test]
    fn errors_name_the_line_or_the_key() {
        let said = |file, key, value| layered(file, key, value).unwrap_err().to_string();
        assert!(said("cpus = 1\nx = 2", "cpus", "1").contains("line 2"));
        assert!(said("cpus 1", "cpus", "1").contains("line 1"));
        assert!(said("", "memory.siez", "1").starts_with("setting memory.siez: unknown field"));
        assert!(said("", "mode", "fast").contains("setting mode:"));
        assert!(said("", "cpus.x", "1").contains("setting cpus.x:"));
        assert!(said("cpus = 1", "cpus.x", "1").contains("cpus is no table"));
    }
}
