//! stub
#[derive(Clone)]
pub struct Shutdown;
impl Shutdown {
    pub fn requested(&self) -> bool {
        false
    }
    pub fn wait(&self, d: std::time::Duration) -> bool {
        std::thread::sleep(d);
        false
    }
}
