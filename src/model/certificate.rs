//! What is kept of the certificates that a server presents.

use super::Wall;

/// Of the chain that a server presents, the certificate that ends first. It may be an intermediate's:
/// where that ends, the server's own is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainExpiry {
    /// Seconds since 1970.
    pub not_after: i64,
    /// Whose it is, free of control characters and short: `CN=shop.example.com`. It is the server's
    /// word, so it is text, never a label.
    pub subject: Box<str>,
}

impl ChainExpiry {
    /// Whole days, rounded down: 0 on the last one, negative once it is over.
    pub fn days_left(&self, now: Wall) -> i64 {
        // A saturating cast: a double far out of range is as good as any other of its sign.
        let now = now.0.floor() as i64;
        self.not_after.saturating_sub(now).div_euclid(86_400)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_go_below_zero() {
        let chain = ChainExpiry { not_after: 10 * 86_400, subject: "CN=a".into() };
        for (now, days) in [
            (0.0, 10),
            (0.5, 10),
            (1.0, 9),
            (9.0 * 86_400.0, 1),
            (9.0 * 86_400.0 + 1.0, 0),
            (10.0 * 86_400.0, 0),
            (10.0 * 86_400.0 + 1.0, -1),
            (12.0 * 86_400.0, -2),
            (f64::NEG_INFINITY, i64::MAX / 86_400),
        ] {
            assert_eq!(chain.days_left(Wall(now)), days, "at {now}");
        }
    }
}
