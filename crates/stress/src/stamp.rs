//! Who wrote a value: each value carries the operation that wrote it, and is
//! made of nothing else, so that a value read back proves where it came from.

use std::fmt;
use std::str::FromStr;
use tanada_vfs::memory::Dice;

/// An operation: which life of the server, which client, which of its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp {
    pub(crate) life: u32,
    pub(crate) client: u32,
    pub(crate) n: u32,
}

/// What a key holds: the operation that wrote it, or nothing.
pub(crate) type State = Option<Stamp>;

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.life, self.client, self.n)
    }
}

impl FromStr for Stamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Stamp, String> {
        let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(life)), Some(Some(client)), Some(Some(n)), None) => {
                Ok(Stamp { life, client, n })
            }
            _ => Err(format!("{text:?} is no stamp")),
        }
    }
}

impl Stamp {
    /// Random bits of this operation's own.
    pub(crate) fn dice(self, seed: u64) -> Dice {
        let own = (u64::from(self.life) << 40) ^ (u64::from(self.client) << 32) ^ u64::from(self.n);
        Dice::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ own)
    }

    /// Its value: `stamp;size;` and letters up to `size_bytes`, all decided by
    /// the stamp. Longer when the head alone is longer.
    pub(crate) fn value(self, size_bytes: usize) -> String {
        let mut value = format!("{self};{size_bytes};");
        let mut dice = self.dice(0);
        while value.len() < size_bytes {
            value.push_str(&format!("{:016x}", dice.next_u64()));
            value.truncate(size_bytes);
        }
        value
    }

    /// The operation that wrote `value`.
    ///
    /// # Errors
    /// When any byte of it is not what that operation wrote.
    pub(crate) fn of(value: &str) -> Result<Stamp, String> {
        let shown = || value.chars().take(60).collect::<String>();
        let mut parts = value.splitn(3, ';');
        let (Some(stamp), Some(size)) = (parts.next(), parts.next()) else {
            return Err(format!("{:?} is no value of ours", shown()));
        };
        let stamp: Stamp = stamp.parse()?;
        let size: usize = size.parse().map_err(|_| format!("{:?} is no value of ours", shown()))?;
        // No value of ours is longer; a damaged length must not take all memory.
        if size > 1 << 24 || stamp.value(size) != value {
            return Err(format!(
                "the {} bytes of {:?}… are not those that {stamp} wrote",
                value.len(),
                shown()
            ));
        }
        Ok(stamp)
    }
}

/// An account's value: its balance, then the stamp.
pub(crate) fn account_value(balance: u64, stamp: Stamp) -> String {
    format!("{balance}|{}", stamp.value(24))
}

/// Balance and stamp of an account's value.
///
/// # Errors
/// When it is none.
pub(crate) fn of_account(value: &str) -> Result<(u64, Stamp), String> {
    let (balance, rest) =
        value.split_once('|').ok_or_else(|| format!("{value:?} is no account"))?;
    let balance = balance.parse().map_err(|_| format!("{value:?} is no account"))?;
    Ok((balance, Stamp::of(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { life: 3, client: 1, n: 42 };

    #[test]
    fn a_value_names_its_writer_whatever_its_size() {
        for size in [0, 1, 8, 20, 21, 1000] {
            let value = STAMP.value(size);
            assert!(value.len() >= size);
            assert_eq!(Stamp::of(&value), Ok(STAMP));
        }
        assert_eq!(of_account(&account_value(17, STAMP)), Ok((17, STAMP)));
    }

    #[test]
    fn a_value_with_one_wrong_byte_is_nobody_s() {
        let value = STAMP.value(200);
        for at in 0..value.len() {
            let mut bytes = value.clone().into_bytes();
            bytes[at] ^= 1;
            let damaged = String::from_utf8(bytes).unwrap();
            assert_ne!(Stamp::of(&damaged), Ok(STAMP), "byte {at}");
        }
        assert!(Stamp::of(&value[..199]).is_err());
        assert!(Stamp::of("").is_err());
    }
}
