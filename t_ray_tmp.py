import time, sys, os
t=time.time()
from flows import on_ray
print('import', time.time()-t); t=time.time()
sys.path.insert(0,'/work/main')
from tests_tmp_workers import W, fn
if __name__=='__main__':
    from boig.cluster import connect
    connect(); print('connect', time.time()-t); t=time.time()
    r=on_ray.map_batches([{"i":i,"b":b"x"*i, "n":None if i%2 else [1]} for i in range(23)], W, {"k":3}, batch_size=4, workers=2, cpus_per_worker=1, label="rows")
    assert [x["i"] for x in r]==list(range(23)), r
    print(r[0], 'map', time.time()-t); t=time.time()
    try: on_ray.map_batches([{"i":i} for i in range(23)], W, {"k":-1}, batch_size=4, workers=2, cpus_per_worker=1, label="rows")
    except ValueError as e: print("GOT", e, 'map err', time.time()-t); t=time.time()
    print(on_ray.train(fn, {"a":2}, workers=1, cpus_per_worker=1, gpus_per_worker=0, label="train"), 'train', time.time()-t); t=time.time()
    try: on_ray.train(fn, {"a":-1}, workers=1, cpus_per_worker=1, gpus_per_worker=0, label="train")
    except ValueError as e: print("GOT", e, 'train err', time.time()-t); t=time.time()
    print(on_ray.train(fn, {"a":2}, workers=2, cpus_per_worker=1, gpus_per_worker=0, label="train"), 'train2', time.time()-t); t=time.time()
    with on_ray.ActorPool(W, {"k":1}, size=2, cpus=1) as p:
        fs=[p.submit([{"i":i}]) for i in range(5)]
        print([f.result() for f in fs], 'pool', time.time()-t); t=time.time()
        try: p.submit([{"i":-5}]).result()
        except ValueError as e: print("GOT",e)
