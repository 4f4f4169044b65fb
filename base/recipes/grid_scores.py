def scores(folder, seed): return {}
