//! Time as the journal tells it: the wall clock at start, then the monotonic clock, led back to the wall clock in small
//! steps. It never goes back and never jumps, whatever happens to the wall clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where the journal reads milliseconds since 1970.
pub enum Clock {
    /// The system's clocks, slewed: after a step of the wall clock it runs at half or double speed until they agree.
    Slewed,
    /// Anything else, for tests; the journal still never goes back.
    Custom(Box<dyn Fn() -> i64 + Send>),
}

pub(super) struct Ticking {
    clock: Clock,
    told_us: i64,
    /// How far it was behind the wall clock then.
    behind_us: i64,
    read_at: Instant,
    last_ms: i64,
}

impl Ticking {
    /// Starts at the wall clock or at `floor_ms`, whichever is later.
    pub fn start(clock: Clock, floor_ms: i64) -> Ticking {
        let wall_us = wall_us();
        let told_us = wall_us.max(floor_ms.saturating_mul(1_000));
        Ticking { clock, told_us, behind_us: wall_us - told_us, read_at: Instant::now(), last_ms: floor_ms }
    }

    /// Milliseconds since 1970, never less than before.
    pub fn now_ms(&mut self) -> i64 {
        let ms = match &self.clock {
            Clock::Custom(clock) => clock(),
            Clock::Slewed => {
                let read_at = Instant::now();
                let passed_us = read_at.duration_since(self.read_at).as_micros() as i64;
                self.read_at = read_at;
                (self.told_us, self.behind_us) = slew(self.told_us, self.behind_us, passed_us, wall_us());
                self.told_us / 1_000
            }
        };
        self.last_ms = self.last_ms.max(ms);
        self.last_ms
    }
}

/// The time to tell, and how far it is then behind the wall clock. The time since the last look goes into leading back what that
/// look saw; what the wall clock was set by since begins now, or an hour without a record would hide a step of an hour.
fn slew(told_us: i64, behind_us: i64, passed_us: i64, wall_us: i64) -> (i64, i64) {
    let told = told_us + passed_us;
    let drift_us = passed_us / DRIFT;
    let seen = (wall_us - told).clamp(behind_us.min(0) - drift_us, behind_us.max(0) + drift_us);
    let told = told + seen.clamp(-passed_us / 2, passed_us);
    (told, wall_us - told)
}

/// Two clocks of one machine run apart by less than one part in so many.
const DRIFT: i64 = 1_000;

fn wall_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_micros() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_is_slewed() {
        assert_eq!(slew(1_000_000, 0, 100, 1_000_100), (1_000_100, 0), "in step");
        assert_eq!(slew(1_000_000, 8_000_000, 100, 9_000_100), (1_000_200, 7_999_900), "the wall had jumped ahead: double speed");
        assert_eq!(slew(1_000_000, -900_000, 100, 100_100), (1_000_050, -899_950), "the wall had jumped back: half speed, still forward");
    }

    #[test]
    fn no_step_hides_in_an_hour_without_a_record() {
        const HOUR: i64 = 3_600_000_000;
        for by in [HOUR, -HOUR] {
            // It was set at some moment of the hour.
            let (told, behind) = slew(0, 0, HOUR, HOUR + by);
            assert!((told - HOUR).abs() <= HOUR / 1_000 && told + behind == HOUR + by, "{told}");
            let (next, _) = slew(told, behind, 1_000_000, told + behind + 1_000_000);
            assert_eq!(next - told, if by > 0 { 2_000_000 } else { 500_000 });
        }
        // What is only drift is followed.
        assert_eq!(slew(0, 0, HOUR, HOUR + 50_000), (HOUR + 50_000, 0));
    }

    #[test]
    fn a_clock_that_goes_back_is_not_followed() {
        let times = std::sync::Mutex::new(vec![5i64, 900, 30]);
        let mut ticking = Ticking::start(Clock::Custom(Box::new(move || times.lock().unwrap().pop().unwrap())), 10);
        assert_eq!([ticking.now_ms(), ticking.now_ms(), ticking.now_ms()], [30, 900, 900]);
    }
}
