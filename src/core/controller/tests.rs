//! What a replica remembers while it does not lead.

use rand::SeedableRng;

use super::*;
use crate::object::{Request, ServiceStatus};

fn service(name: &str) -> Service {
    Service {
        key: ServiceKey::new("default", name),
        version: Version("1".into()),
        created: 1,
        request: Some(Request::default()),
        status: ServiceStatus::default(),
        has_foreign_finalizer: false,
    }
}

fn controller() -> Controller {
    let mut controller = Controller::new(false, ChaCha8Rng::seed_from_u64(1));
    Kind::ALL.into_iter().for_each(|kind| controller.handle_synced(kind));
    controller
}

#[test]
fn a_standby_remembers_no_service_that_came_and_went() {
    let mut controller = controller();
    for number in 0..100 {
        let service = service(&format!("passing-{number}"));
        controller.handle_service(service.clone());
        controller.handle_service_deleted(&service.key);
        controller.decide();
    }
    assert_eq!((controller.dirty.len(), controller.touched.len()), (0, 0));
}

#[test]
fn a_leader_that_is_unconfirmed_for_a_while_forgets_nothing_that_it_heard_meanwhile() {
    let mut controller = controller();
    controller.handle_leading(true);
    controller.decide();
    controller.handle_leading(false);
    controller.handle_service(service("web"));
    controller.decide();
    assert!(controller.dirty.contains(&ServiceKey::new("default", "web")));
}
