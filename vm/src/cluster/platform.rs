//! What a cluster's nodes are: options that all programs have which bring one
//! up.

use clap::Args;

use crate::cluster::options::{AccelChoice, UpOptions};

/// What the nodes are.
#[derive(Clone, Debug, Args)]
pub struct Platform {
    /// What runs the guests; auto takes KVM if a guest really boots under it.
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        env = "RAPIDSWAP_ACCEL",
        hide_env_values = true
    )]
    pub accel: AccelChoice,
    /// What the nodes are and what joins them: `profiles/NAME.toml`, or the path
    /// of such a file.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "rxe",
        env = "RAPIDSWAP_PROFILE",
        hide_env_values = true
    )]
    pub profile: String,
}

impl Platform {
    /// A cluster on it that is the usual one in all else.
    pub fn options(&self) -> UpOptions {
        UpOptions {
            accel: self.accel,
            profile: self.profile.clone(),
            ..UpOptions::default()
        }
    }
}
