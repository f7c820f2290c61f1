//! Rules over alerts in the fold.
