package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// provisioner gives each claim of its storage classes a directory below -dir
// and a "local" volume on it (so fsGroup works, which hostPath has not), and
// removes both when the claim is gone. It follows the external-provisioner
// protocol: it acts on a claim once the volume controller has marked it.
func provisioner(args []string) error {
	fs := flag.NewFlagSet("provisioner", flag.ExitOnError)
	kubeconfig := fs.String("kubeconfig", "", "admin kubeconfig")
	dir := fs.String("dir", "", "where the directories go (absolute)")
	node := fs.String("node", "", "the node's name")
	name := fs.String("name", "test.local/dir", "the provisioner's name in a StorageClass")
	fs.Parse(args)
	if *kubeconfig == "" || *dir == "" || *node == "" {
		return errors.New("-kubeconfig, -dir and -node are needed")
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	f := informers.NewSharedInformerFactory(cs, 0)
	kick := make(chan struct{}, 1)
	wake := func() {
		select {
		case kick <- struct{}{}:
		default:
		}
	}
	h := cache.ResourceEventHandlerFuncs{AddFunc: func(any) { wake() }, UpdateFunc: func(any, any) { wake() }, DeleteFunc: func(any) { wake() }}
	pvcs, pvs, classes := f.Core().V1().PersistentVolumeClaims(), f.Core().V1().PersistentVolumes(), f.Storage().V1().StorageClasses()
	pvcs.Informer().AddEventHandler(h)
	pvs.Informer().AddEventHandler(h)
	classes.Informer().AddEventHandler(h)
	f.Start(context.Background().Done())
	f.WaitForCacheSync(context.Background().Done())
	log.Print("provisioner: ready")
	for {
		select {
		case <-kick:
		case <-time.After(10 * time.Second):
		}
		claims, _ := pvcs.Lister().List(labels.Everything())
		for _, c := range claims {
			if c.Spec.VolumeName != "" || c.DeletionTimestamp != nil || c.Spec.StorageClassName == nil || c.Annotations["volume.kubernetes.io/storage-provisioner"] != *name {
				continue
			}
			class, err := classes.Lister().Get(*c.Spec.StorageClassName)
			if err != nil || class.Provisioner != *name {
				continue
			}
			pvName := "pvc-" + string(c.UID)
			if _, err := pvs.Lister().Get(pvName); err == nil {
				continue
			}
			if err := create(cs, class, c, *name, *node, pvName, filepath.Join(*dir, pvName+"_"+c.Namespace+"_"+c.Name)); err != nil && !apierrors.IsAlreadyExists(err) {
				log.Printf("provisioner: %s/%s: %v", c.Namespace, c.Name, err)
			}
		}
		volumes, _ := pvs.Lister().List(labels.Everything())
		for _, v := range volumes {
			if v.Annotations["pv.kubernetes.io/provisioned-by"] != *name || v.Status.Phase != v1.VolumeReleased || v.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete || v.DeletionTimestamp != nil {
				continue
			}
			if v.Spec.Local == nil || filepath.Dir(v.Spec.Local.Path) != filepath.Clean(*dir) {
				continue
			}
			if err := os.RemoveAll(v.Spec.Local.Path); err != nil {
				log.Printf("provisioner: %v", err)
				continue
			}
			cs.CoreV1().PersistentVolumes().Delete(context.Background(), v.Name, metav1.DeleteOptions{})
		}
	}
}

func create(cs kubernetes.Interface, class *storagev1.StorageClass, c *v1.PersistentVolumeClaim, name, node, pvName, path string) error {
	if s := c.Annotations["volume.kubernetes.io/selected-node"]; s != "" {
		node = s
	}
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	policy := v1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	_, err := cs.CoreV1().PersistentVolumes().Create(context.Background(), &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: pvName, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": name}},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			AccessModes:                   c.Spec.AccessModes,
			VolumeMode:                    c.Spec.VolumeMode,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: c.Spec.Resources.Requests[v1.ResourceStorage]},
			ClaimRef:                      &v1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: c.Namespace, Name: c.Name, UID: c.UID},
			PersistentVolumeSource:        v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: path}},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{Key: "kubernetes.io/hostname", Operator: v1.NodeSelectorOpIn, Values: []string{node}}}}}}},
		},
	}, metav1.CreateOptions{})
	return err
}
