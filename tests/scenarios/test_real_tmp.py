import time
from scenarios.real import *
from testbed.workloads import deployment
async def test_x(world, real_fleet, git_http, namespace):
    from testbed.fixtures import FLEET
    for name in FLEET:
        world.cluster(name, real_fleet[name], *(("web", "apps") if name == "full" else ("web",)))
    world.overlay("web", [namespace_of(namespace), config_map("settings", namespace, {"release": "1"})])
    world.overlay("apps", [deployment("shop", namespace, replicas=2)])
    t=time.time()
    first = world.commit()
    print("commit", time.time()-t)
    async with world.hub(repo=git_http.url(world.repo), git_allow_http=True) as hub:
        print("open", time.time()-t)
        await hub.until_done(first, seconds=60)
        print("done", time.time()-t)
        for e in sorted(await hub.events(), key=lambda e: e.at):
            print(round(e.at-t,2), e.kind, e.cluster, e.unit, e.message[:200])
        world.overlay("web", [namespace_of(namespace), config_map("settings", namespace, {"release": "2"})])
        second = world.commit()
        t=time.time()
        print(await hub.until_done(second, seconds=60))
        for e in sorted(await hub.events(), key=lambda e: e.at):
            print(round(e.at-t,2), e.kind, e.cluster, e.unit, e.message[:200])
    print(time.time()-t)
