//! Which connection requests are accepted, and as what.

use remoteswap_logic::wire::{Reason, Req, Role};

/// What is known of a client that holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Highest session number seen.
    pub session: u64,
    /// Whether that session's load queue pair is there.
    pub live: bool,
    /// Whether that session's store queue pair has ever joined.
    pub joined: bool,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A new client: give it memory.
    Grant,
    /// A known client is back: destroy its old queue pairs, change its keys,
    /// then accept.
    Rejoin,
    /// The store queue pair of the present session.
    Join,
    /// Say no.
    Refuse(Reason),
}

/// Judges a request by what is known of the client that makes it.
pub fn decide(standing: Option<Standing>, req: &Req) -> Decision {
    match (standing, req.role) {
        (None, Role::Load) => Decision::Grant,
        (Some(s), Role::Load) if req.session > s.session => Decision::Rejoin,
        (Some(s), Role::Store) if req.session == s.session && s.live && !s.joined => Decision::Join,
        // Older than what was seen, a second time the same, or a store queue
        // pair whose session was never made or is over.
        _ => Decision::Refuse(Reason::StaleSession),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn req(role: Role, session: u64) -> Req {
        Req {
            role,
            client_id: 1,
            session,
            wanted_bytes: 0,
        }
    }

    #[test]
    fn the_ordinary_way() {
        assert_eq!(decide(None, &req(Role::Load, 1)), Decision::Grant);
        let s = Standing {
            session: 1,
            live: true,
            joined: false,
        };
        assert_eq!(decide(Some(s), &req(Role::Store, 1)), Decision::Join);
        assert_eq!(decide(Some(s), &req(Role::Load, 2)), Decision::Rejoin);
    }

    proptest! {
        #[test]
        fn no_session_is_entered_twice(session in 1u64..5, asked in 1u64..5, live: bool, joined: bool, store: bool) {
            let role = if store { Role::Store } else { Role::Load };
            let decision = decide(Some(Standing { session, live, joined }), &req(role, asked));
            match decision {
                Decision::Grant => prop_assert!(false, "a client never has two leases"),
                Decision::Rejoin => prop_assert!(asked > session && !store),
                Decision::Join => prop_assert!(asked == session && store && live && !joined),
                Decision::Refuse(reason) => prop_assert_eq!(reason, Reason::StaleSession),
            }
        }

        #[test]
        fn strangers_start_with_loads(asked in 1u64..) {
            prop_assert_eq!(decide(None, &req(Role::Load, asked)), Decision::Grant);
            prop_assert_eq!(decide(None, &req(Role::Store, asked)), Decision::Refuse(Reason::StaleSession));
        }
    }
}
