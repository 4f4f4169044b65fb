x=1
def write_card(*a,**k): print(a,k)
